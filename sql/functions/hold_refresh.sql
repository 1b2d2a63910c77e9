CREATE OR REPLACE FUNCTION occupancy.hold_refresh(holder uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- The row stays locked to the end of the step: nobody takes the lease over in the middle of one.
  UPDATE occupancy.refresher
  SET held_until = clock_timestamp() + occupancy.refresh_lease()
  WHERE refresher.holder = hold_refresh.holder;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'another refresher took over from %', holder USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
END
$$;

COMMENT ON FUNCTION occupancy.hold_refresh(uuid) IS
  'Begins a step of a refresh: renews the lease, or fails if it was lost.';
