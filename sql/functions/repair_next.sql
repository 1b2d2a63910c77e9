CREATE OR REPLACE FUNCTION occupancy.repair_next(holder uuid, budget interval) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
-- A chunk of aggregates that is being compressed lets nobody write: what is new is materialized meanwhile.
SET lock_timeout = '2s'
AS $$
DECLARE
  trusted timestamptz;
  oldest timestamptz := public.time_bucket(INTERVAL '15 minutes', occupancy.first_chunk());
  spaces integer[];
  from_times timestamptz[];
  to_times timestamptz[];
BEGIN
  PERFORM occupancy.hold_refresh(holder);
  IF budget < INTERVAL '15 minutes' THEN
    RAISE EXCEPTION 'budget % is less than a bucket of 15 minutes', budget USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT horizon.read_before INTO trusted FROM occupancy.horizon;

  -- Oldest first, so that reads get faster while this runs. Each mark is cut to whole buckets that readers trust, and
  -- to what the budget leaves of it; the rest becomes a mark of its own.
  WITH oldest_marks AS (
    SELECT stale.id, stale.space, stale.since, stale.until,
      greatest(oldest, public.time_bucket(INTERVAL '15 minutes', stale.since)) AS from_time,
      least(trusted, occupancy.next_bucket(INTERVAL '15 minutes', stale.until)) AS to_time
    FROM occupancy.stale
    WHERE stale.claimed
    ORDER BY stale.since, stale.id
    LIMIT 5000
  ), near AS (
    -- all in one or two chunks: what is compressed there is decompressed for the whole range of a step
    SELECT oldest_marks.*, min(from_time) OVER () + INTERVAL '720 hours' AS near_until FROM oldest_marks
  ), marks AS (
    SELECT near.*, greatest(INTERVAL '0', least(to_time - from_time, budget)) AS work FROM near
    WHERE from_time <= near_until
  ), affordable AS (
    SELECT marks.*, from_time + work AS done_until
    FROM (
      SELECT marks.*, sum(work) OVER (ORDER BY since, id ROWS UNBOUNDED PRECEDING) - work AS work_before FROM marks
    ) AS marks
    WHERE work_before < budget
  ), done AS (
    DELETE FROM occupancy.stale USING affordable WHERE stale.id = affordable.id
  ), rest AS (
    INSERT INTO occupancy.stale (space, since, until, claimed)
    SELECT affordable.space, affordable.done_until, affordable.until, true
    FROM affordable
    WHERE affordable.done_until < affordable.to_time
  ), ranges AS (
    SELECT affordable.space, unnest(range_agg(tstzrange(affordable.from_time, affordable.done_until))) AS span
    FROM affordable
    WHERE affordable.from_time < affordable.done_until
    GROUP BY affordable.space
  )
  SELECT array_agg(ranges.space), array_agg(lower(ranges.span)), array_agg(upper(ranges.span))
  INTO spaces, from_times, to_times
  FROM ranges;

  IF spaces IS NOT NULL THEN
    PERFORM occupancy.repair_flow(spaces, from_times, to_times, trusted);
  END IF;
  -- A long step must not end with its lease run out.
  PERFORM occupancy.hold_refresh(holder);
  RETURN EXISTS (SELECT FROM occupancy.stale WHERE stale.claimed);
END
$$;

COMMENT ON FUNCTION occupancy.repair_next(uuid, interval) IS
  'A step of a refresh: repairs the oldest claimed marks, at most about `budget` of time summed over spaces, and '
  'removes them in the same transaction. True if there is more to do. Raises lock_not_available where a chunk of aggregates '
  'is being compressed.';
