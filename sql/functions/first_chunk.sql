CREATE OR REPLACE FUNCTION occupancy.first_chunk() RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(min(chunks.range_start), 'infinity')
  FROM timescaledb_information.chunks
  WHERE chunks.hypertable_schema = 'occupancy' AND chunks.hypertable_name = 'crossing'
$$;

COMMENT ON FUNCTION occupancy.first_chunk() IS 'No crossing is older than this instant; infinity where there is none.';
