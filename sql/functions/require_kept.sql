CREATE OR REPLACE FUNCTION occupancy.require_kept(from_time timestamptz) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kept_since CONSTANT timestamptz := (SELECT horizon.dropped_before FROM occupancy.horizon);
BEGIN
  -- A list of what is left would look like the list of all there was.
  IF from_time < kept_since THEN
    RAISE EXCEPTION 'single crossings before % are no longer stored: ask from there on', kept_since
      USING ERRCODE = 'invalid_parameter_value', COLUMN = 'start';
  END IF;
END
$$;

COMMENT ON FUNCTION occupancy.require_kept(timestamptz) IS
  'Raises invalid_parameter_value where a list of crossings would begin before those that are kept.';
