CREATE OR REPLACE FUNCTION occupancy.rollups()
RETURNS TABLE (coarse regclass, fine regclass, width interval, fine_width interval)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  VALUES
    (occupancy.flow_table('1d'), occupancy.flow_table('15m'), INTERVAL '24 hours', INTERVAL '15 minutes'),
    (occupancy.flow_table('30d'), occupancy.flow_table('1d'), INTERVAL '720 hours', INTERVAL '24 hours')
$$;

COMMENT ON FUNCTION occupancy.rollups() IS
  'The coarser levels, bottom up: what each is made of, and the widths of the buckets of both.';
