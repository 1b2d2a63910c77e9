CREATE OR REPLACE FUNCTION occupancy.chunks_to_compress() RETURNS SETOF regclass
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT stored.chunk
  FROM occupancy.stored_chunks() AS stored
  CROSS JOIN occupancy.storage
  CROSS JOIN occupancy.horizon
  WHERE (NOT stored.compressed OR stored.partial)
    AND stored.chunk_end <= now() - CASE stored.holds
      WHEN 'crossing' THEN storage.compress_crossings_after
      ELSE storage.compress_aggregates_after
    END
    -- what waits to be materialized is about to be read as a whole
    AND stored.chunk_end <= horizon.read_before
    AND stored.chunk_end > CASE stored.holds WHEN 'crossing' THEN horizon.dropped_before ELSE '-infinity' END
  ORDER BY stored.chunk_end, stored.holds
$$;

COMMENT ON FUNCTION occupancy.chunks_to_compress() IS
  'The chunks that are due: old enough, and not compressed or with rows that came afterwards. Oldest first.';
