CREATE OR REPLACE FUNCTION occupancy.move_dropped_before() RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
-- For a step of a refresh, behind which nobody queues but refreshers; less for writers, below.
SET lock_timeout = '1min'
AS $$
DECLARE
  instant CONSTANT interval := '1 microsecond';
  quarter CONSTANT interval := '15 minutes';
  kept_since timestamptz;
  boundary timestamptz;
  -- of each reset of the chunk: its row, and what followed it in its own quarter of an hour
  known integer[];
  spaces integer[];
  instants timestamptz[];
  entries integer[];
  exits integer[];
  last_crossings timestamptz[];
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
  IF boundary IS NULL OR EXISTS (SELECT FROM occupancy.stale WHERE stale.since < boundary) THEN
    RETURN NULL;
  END IF;
  IF NOT pg_try_advisory_xact_lock(occupancy.storage_lock()) THEN
    RAISE EXCEPTION 'another step of the work on old data is being done' USING ERRCODE = 'lock_not_available';
  END IF;
  SELECT horizon.dropped_before INTO kept_since FROM occupancy.horizon;
  IF boundary <= kept_since THEN
    RETURN NULL;
  END IF;

  -- No step of a refresh runs from here on: what changes before the boundary leaves a mark that nobody repairs before
  -- it is looked for below.
  PERFORM FROM occupancy.refresher FOR UPDATE;
  -- What follows a reset in its own quarter of an hour is in no bucket by itself. It is read now, while others write.
  SELECT array_agg(stated.id), array_agg(stated.space), array_agg(stated.at), array_agg(rest.entries::integer),
    array_agg(rest.exits::integer), array_agg(rest.last_crossing)
  INTO known, spaces, instants, entries, exits, last_crossings
  FROM occupancy.reset AS stated
  CROSS JOIN LATERAL occupancy.flow_of_crossings(
    stated.space, stated.at + instant, public.time_bucket(quarter, stated.at) + quarter) AS rest
  WHERE stated.at < boundary AND stated.at >= kept_since;

  -- No change of topology and no writer is in flight from here on: every mark that there will ever be before the
  -- boundary is there to be seen. A writer that hangs must not make all others queue behind this lock for long.
  PERFORM set_config('lock_timeout', '2s', true);
  PERFORM occupancy.lock_topology();
  PERFORM pg_advisory_xact_lock(occupancy.writing_lock());
  IF EXISTS (SELECT FROM occupancy.stale WHERE stale.since < boundary) OR EXISTS (
    -- in time when they were taken, and without a mark until they are stored
    SELECT FROM occupancy.held_crossing WHERE held_crossing.time >= kept_since AND held_crossing.time < boundary
  ) OR EXISTS (
    -- stated meanwhile
    SELECT FROM occupancy.reset
    WHERE reset.at < boundary AND reset.at >= kept_since
      AND NOT EXISTS (
        SELECT FROM unnest(known, spaces, instants) AS seen (id, space, at)
        WHERE (seen.id, seen.space, seen.at) = (reset.id, reset.space, reset.at)
      )
  ) THEN
    RETURN NULL;
  END IF;
  UPDATE occupancy.reset
  SET rest_entries = rest.entries, rest_exits = rest.exits, rest_last_crossing = rest.last_crossing
  FROM unnest(known, entries, exits, last_crossings) AS rest (id, entries, exits, last_crossing)
  WHERE reset.id = rest.id;
  UPDATE occupancy.horizon SET dropped_before = boundary;
  RETURN boundary;
END
$$;

COMMENT ON FUNCTION occupancy.move_dropped_before() IS
  'First step of a drop: from its commit on nobody reads, stores or repairs before dropped_before, which moves to the end '
  'of the oldest chunk that is older than keep_crossings, is materialized and has no stale mark in it, nor an event that is '
  'held for it. Returns it; null: nothing to drop, or not yet. Raises lock_not_available where others are at it.';
