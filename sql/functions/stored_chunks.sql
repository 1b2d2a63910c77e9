CREATE OR REPLACE FUNCTION occupancy.stored_chunks()
RETURNS TABLE (holds text, chunk regclass, chunk_start timestamptz, chunk_end timestamptz, compressed boolean, partial boolean)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT hypertable.holds, place.chunk, chunks.range_start, chunks.range_end, chunks.is_compressed,
    -- TimescaleDB's own flag stays for ever (see compress_one)
    CASE WHEN _timescaledb_functions.chunk_status(place.chunk) & 8 <> 0 THEN occupancy.has_rows(place.chunk) ELSE false END
  FROM (
    VALUES ('crossing', 'occupancy.crossing'::regclass), ('flow_15m', occupancy.flow_table('15m'))
  ) AS hypertable (holds, relation)
  JOIN timescaledb_information.chunks
    ON format('%I.%I', chunks.hypertable_schema, chunks.hypertable_name)::regclass = hypertable.relation
  CROSS JOIN LATERAL (SELECT format('%I.%I', chunks.chunk_schema, chunks.chunk_name)::regclass AS chunk) AS place
$$;

COMMENT ON FUNCTION occupancy.stored_chunks() IS
  'The chunks of crossing and flow_15m. partial: rows were stored in it since it was compressed.';
