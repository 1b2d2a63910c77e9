CREATE OR REPLACE FUNCTION occupancy.mark_stale(from_time timestamptz, to_time timestamptz) RETURNS bigint
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
  WITH marked AS (
    INSERT INTO occupancy.stale (space, since, until)
    SELECT space.id, mark_stale.from_time, mark_stale.to_time
    FROM occupancy.space
    RETURNING 1
  )
  SELECT count(*) FROM marked
$$;

COMMENT ON FUNCTION occupancy.mark_stale(timestamptz, timestamptz) IS
  'Has the next refresh compute [from_time, to_time) of every space anew. Returns the number of spaces.';
