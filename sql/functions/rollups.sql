CREATE OR REPLACE FUNCTION occupancy.rollups() RETURNS TABLE (coarse regclass, fine regclass, width interval)
LANGUAGE sql STABLE
SET search_path = pg_catalog
AS $$
  VALUES
    (occupancy.flow_table('1d'), occupancy.flow_table('15m'), INTERVAL '24 hours'),
    (occupancy.flow_table('30d'), occupancy.flow_table('1d'), INTERVAL '720 hours')
$$;

COMMENT ON FUNCTION occupancy.rollups() IS 'The coarser levels, bottom up: what each is made of, and its bucket width.';
