CREATE OR REPLACE FUNCTION occupancy.move_dropped_before() RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
-- A writer that hangs must not make all others queue behind this lock for long.
SET lock_timeout = '2s'
AS $$
DECLARE
  instant CONSTANT interval := '1 microsecond';
  quarter CONSTANT interval := '15 minutes';
  boundary timestamptz;
BEGIN
  SELECT min(stored.chunk_end) INTO boundary
  FROM occupancy.stored_chunks() AS stored
  CROSS JOIN occupancy.storage
  CROSS JOIN occupancy.horizon
  WHERE stored.holds = 'crossing' AND stored.chunk_end > horizon.dropped_before
    AND stored.chunk_end <= least(clock_timestamp() - storage.keep_crossings, horizon.read_before)
    AND storage.keep_crossings IS NOT NULL
    -- before it, only whole buckets are known
    AND public.time_bucket(quarter, stored.chunk_end) = stored.chunk_end;
  IF boundary IS NULL OR NOT pg_try_advisory_xact_lock(occupancy.storage_lock()) THEN
    RETURN NULL;
  END IF;

  -- No change of topology and no writer is in flight from here on: every mark that there will ever be before the
  -- boundary is there to be seen.
  PERFORM occupancy.lock_topology();
  PERFORM pg_advisory_xact_lock(occupancy.writing_lock());
  IF EXISTS (SELECT FROM occupancy.stale WHERE stale.since < boundary) THEN
    RETURN NULL;
  END IF;
  -- What follows a reset in its own quarter of an hour is in no bucket by itself.
  UPDATE occupancy.reset
  SET rest_entries = rest.entries, rest_exits = rest.exits, rest_last_crossing = rest.last_crossing
  FROM occupancy.reset AS stated
  CROSS JOIN LATERAL occupancy.flow_of_crossings(
    stated.space, stated.at + instant, public.time_bucket(quarter, stated.at) + quarter) AS rest
  WHERE reset.id = stated.id AND stated.at < boundary
    AND stated.at >= (SELECT horizon.dropped_before FROM occupancy.horizon);
  UPDATE occupancy.horizon SET dropped_before = boundary;
  RETURN boundary;
END
$$;

COMMENT ON FUNCTION occupancy.move_dropped_before() IS
  'First step of a drop: from its commit on nobody reads, stores or repairs before dropped_before, which moves to the end '
  'of the oldest chunk that is older than keep_crossings, is materialized and has no stale mark in it. Returns it; null: '
  'nothing to drop, or not yet.';
