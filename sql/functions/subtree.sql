CREATE OR REPLACE FUNCTION occupancy.subtree(roots integer[]) RETURNS TABLE (space integer)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE below AS (
    SELECT unnest(roots) AS space
    UNION
    SELECT space.id FROM below JOIN occupancy.space ON space.parent = below.space
  )
  SELECT below.space FROM below
$$;

COMMENT ON FUNCTION occupancy.subtree(integer[]) IS 'These spaces and all below them.';
