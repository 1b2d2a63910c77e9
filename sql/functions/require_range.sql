CREATE OR REPLACE FUNCTION occupancy.require_range(from_time timestamptz, to_time timestamptz) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF from_time IS NULL OR to_time IS NULL THEN
    RAISE EXCEPTION 'a range of time has a start and an end, not null'
      USING ERRCODE = 'invalid_parameter_value', COLUMN = CASE WHEN from_time IS NULL THEN 'start' ELSE 'end' END;
  END IF;
  -- Days, resets and buckets are counted through such a range one by one.
  IF NOT isfinite(from_time) OR from_time < '1900-01-01 00:00:00+00' OR NOT isfinite(to_time)
    OR to_time > '2200-01-01 00:00:00+00'
  THEN
    RAISE EXCEPTION 'a range lies between the years 1900 and 2200, not from % to %', from_time, to_time
      USING ERRCODE = 'invalid_parameter_value', COLUMN = 'start';
  ELSIF from_time >= to_time THEN
    RAISE EXCEPTION 'a range ends after it begins: not from % to %', from_time, to_time
      USING ERRCODE = 'invalid_parameter_value', COLUMN = 'end';
  END IF;
END
$$;

COMMENT ON FUNCTION occupancy.require_range(timestamptz, timestamptz) IS
  'Raises invalid_parameter_value for a range of time that nobody can mean.';
