CREATE OR REPLACE FUNCTION occupancy.storage_report()
RETURNS TABLE (
  holds text, chunk_start timestamptz, chunk_end timestamptz, compressed boolean, partial boolean, bytes bigint, due text
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT stored.holds, stored.chunk_start, stored.chunk_end, stored.compressed, stored.partial,
    pg_total_relation_size(stored.chunk)
      + CASE WHEN stored.compressed THEN coalesce(packed.after_compression_total_bytes, 0) ELSE 0 END,
    CASE
      WHEN stored.holds = 'crossing' AND stored.chunk_end <= horizon.dropped_before THEN 'drop'
      WHEN stored.holds = 'crossing' AND stored.chunk_end <= least(now() - storage.keep_crossings, horizon.read_before)
        AND storage.keep_crossings IS NOT NULL THEN 'drop'
      WHEN stored.chunk IN (SELECT occupancy.chunks_to_compress()) THEN 'compress'
      ELSE ''
    END
  FROM occupancy.stored_chunks() AS stored
  CROSS JOIN occupancy.storage
  CROSS JOIN occupancy.horizon
  LEFT JOIN (
    SELECT stats.* FROM public.chunk_compression_stats('occupancy.crossing') AS stats
    UNION ALL
    SELECT stats.* FROM public.chunk_compression_stats(occupancy.flow_table('15m')) AS stats
  ) AS packed ON format('%I.%I', packed.chunk_schema, packed.chunk_name)::regclass = stored.chunk
$$;

COMMENT ON FUNCTION occupancy.storage_report() IS
  'The chunks of crossing and flow_15m, what lies on the disk for each, and what the work on old data would do with it '
  'now: drop, compress, or nothing.';
