CREATE OR REPLACE FUNCTION occupancy.move_horizon(holder uuid, lag interval) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
-- A writer that hangs must not make all others queue behind this lock for long.
SET lock_timeout = '2s'
AS $$
DECLARE
  target timestamptz;
BEGIN
  PERFORM occupancy.hold_refresh(holder);
  -- The barrier: no writer is in flight here. Those before it have committed what they took to be in time, and
  -- derived their late marks from effects at least as old as the claimed marks; those after it see the new horizon.
  PERFORM pg_advisory_xact_lock(occupancy.writing_lock());
  target := public.time_bucket(INTERVAL '15 minutes', clock_timestamp() - lag);
  -- also with a clock that was set back far: what is dropped cannot be aggregated again
  target := greatest(target, (SELECT horizon.dropped_before FROM occupancy.horizon));
  UPDATE occupancy.horizon
  -- A horizon in the future is that of a clock that was ahead: every event would be late until then. Going back is
  -- safe here: no writer is in flight, and what lies behind read_before is not read.
  SET write_before = CASE
        WHEN horizon.write_before > clock_timestamp() THEN target
        ELSE greatest(horizon.write_before, target)
      END,
      read_before = CASE
        WHEN horizon.write_before > clock_timestamp() THEN least(horizon.read_before, target)
        ELSE horizon.read_before
      END
  RETURNING horizon.write_before INTO target;
  RETURN target;
END
$$;

COMMENT ON FUNCTION occupancy.move_horizon(uuid, interval) IS
  'Second step of a refresh: waits for all writers in flight and moves write_before to the last quarter of an hour '
  'that ended at least `lag` ago. Returns write_before.';
