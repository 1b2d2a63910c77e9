CREATE OR REPLACE FUNCTION occupancy.materialize_next(holder uuid, step interval) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  old_horizon timestamptz;
  target timestamptz;
  new_horizon timestamptz;
BEGIN
  PERFORM occupancy.hold_refresh(holder);
  IF step < INTERVAL '15 minutes' THEN
    RAISE EXCEPTION 'step % is less than a bucket of 15 minutes', step USING ERRCODE = 'invalid_parameter_value';
  END IF;
  SELECT horizon.read_before, horizon.write_before INTO old_horizon, target FROM occupancy.horizon;
  IF old_horizon = '-infinity' THEN
    old_horizon := least(target, greatest(
      public.time_bucket(INTERVAL '720 hours', occupancy.first_chunk()),
      (SELECT horizon.dropped_before FROM occupancy.horizon)
    ));
  END IF;
  new_horizon := least(target, old_horizon + step);
  IF new_horizon < target THEN
    -- Months without a chunk of crossings have nothing to compute; day by day they would take a step each.
    new_horizon := least(target, greatest(new_horizon, occupancy.next_chunk(old_horizon)));
  END IF;
  PERFORM occupancy.materialize_flow(old_horizon, new_horizon);
  UPDATE occupancy.horizon SET read_before = new_horizon;
  -- A long step must not end with its lease run out.
  PERFORM occupancy.hold_refresh(holder);
  RETURN new_horizon < target;
END
$$;

COMMENT ON FUNCTION occupancy.materialize_next(uuid, interval) IS
  'A step of a refresh: materializes the oldest buckets between read_before and write_before, at most `step` of time or '
  'all up to the next chunk of crossings, and moves read_before in the same transaction. True if there is more to do.';
