CREATE OR REPLACE FUNCTION occupancy.history_start() RETURNS timestamptz
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- one look at an index each
  first_quarter CONSTANT timestamptz := (SELECT min(flow.bucket) FROM occupancy.flow_15m AS flow);
  first_bucket CONSTANT timestamptz := least(
    first_quarter,
    -- of what was dropped from the finer levels
    (SELECT min(flow.bucket) FROM occupancy.flow_1d AS flow
      WHERE flow.bucket < public.time_bucket(INTERVAL '24 hours', first_quarter)),
    (SELECT min(flow.bucket) FROM occupancy.flow_30d AS flow
      WHERE flow.bucket < public.time_bucket(INTERVAL '720 hours', first_quarter))
  );
  first_mark CONSTANT timestamptz := (SELECT min(stale.since) FROM occupancy.stale);
BEGIN
  IF first_mark >= first_bucket OR first_mark IS NULL AND first_bucket IS NOT NULL THEN
    RETURN first_bucket;
  END IF;
  -- Only single crossings tell, and to find the first of them would be to scan a chunk.
  RETURN least(first_bucket, greatest(first_mark, occupancy.first_chunk()));
END
$$;

COMMENT ON FUNCTION occupancy.history_start() IS
  'No space has a crossing before this instant: the first bucket of all; while earlier crossings are in no bucket yet, '
  'the start of the chunk that holds them at the latest. infinity where there is none.';
