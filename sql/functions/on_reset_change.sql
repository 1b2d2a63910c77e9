CREATE OR REPLACE FUNCTION occupancy.on_reset_change() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  quarter CONSTANT interval := '15 minutes';
  kept_since timestamptz;
BEGIN
  -- A drop, which takes this lock alone, keeps what followed the resets that it sees.
  PERFORM occupancy.lock_for_writing();
  SELECT horizon.dropped_before INTO kept_since FROM occupancy.horizon;
  IF NEW.at < kept_since AND public.time_bucket(quarter, NEW.at) <> NEW.at THEN
    RAISE EXCEPTION 'single crossings before % are no longer stored: a reset before it is at a quarter of an hour (UTC), '
      'such as % or %', kept_since, public.time_bucket(quarter, NEW.at), occupancy.next_bucket(quarter, NEW.at)
      USING ERRCODE = 'invalid_parameter_value', COLUMN = 'at';
  END IF;
  RETURN NEW;
END
$$;

COMMENT ON FUNCTION occupancy.on_reset_change() IS
  'Refuses a reset inside a quarter of an hour whose crossings are dropped: no count could follow from it.';
