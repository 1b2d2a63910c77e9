CREATE OR REPLACE FUNCTION occupancy.next_chunk(from_time timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(min(chunks.range_start), 'infinity')
  FROM timescaledb_information.chunks
  WHERE chunks.hypertable_schema = 'occupancy' AND chunks.hypertable_name = 'crossing'
    AND chunks.range_end > next_chunk.from_time
$$;

COMMENT ON FUNCTION occupancy.next_chunk(timestamptz) IS
  'No crossing that is stored lies between from_time and this instant, which is from_time or earlier where the chunk of '
  'that time exists; infinity where no chunk follows.';
