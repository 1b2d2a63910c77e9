CREATE OR REPLACE FUNCTION occupancy.drop_crossings() RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
-- All reads and writes queue behind this lock: rather later than for long.
SET lock_timeout = '200ms'
AS $$
DECLARE
  dropped bigint;
BEGIN
  IF NOT EXISTS (
    SELECT FROM occupancy.stored_chunks() AS stored CROSS JOIN occupancy.horizon
    WHERE stored.holds = 'crossing' AND stored.chunk_end <= horizon.dropped_before
  ) THEN
    RETURN 0;
  END IF;
  IF NOT pg_try_advisory_xact_lock(occupancy.storage_lock()) THEN
    RAISE EXCEPTION 'another step of the work on old data is being done' USING ERRCODE = 'lock_not_available';
  END IF;
  -- Whoever reads crossings has read the horizon before: those who read an older one than now are waited for. A chunk
  -- that goes is gone for their snapshots too.
  LOCK TABLE occupancy.horizon IN ACCESS EXCLUSIVE MODE;
  SELECT count(*) INTO dropped
  FROM public.drop_chunks('occupancy.crossing', older_than => (SELECT horizon.dropped_before FROM occupancy.horizon));
  RETURN dropped;
END
$$;

COMMENT ON FUNCTION occupancy.drop_crossings() IS
  'Second step of a drop, some time after the first: drops the chunks of crossings before dropped_before. Returns how many. '
  'Raises lock_not_available where others are at it.';
