CREATE OR REPLACE FUNCTION occupancy.first_chunk() RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  -- a chunk may begin earlier if their width was changed meanwhile
  SELECT greatest(coalesce(min(chunks.range_start), 'infinity'), (SELECT horizon.dropped_before FROM occupancy.horizon))
  FROM timescaledb_information.chunks
  WHERE chunks.hypertable_schema = 'occupancy' AND chunks.hypertable_name = 'crossing'
$$;

COMMENT ON FUNCTION occupancy.first_chunk() IS 'No crossing that may be read is older than this instant; infinity where there is none.';
