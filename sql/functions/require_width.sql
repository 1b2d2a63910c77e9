CREATE OR REPLACE FUNCTION occupancy.require_width(width interval) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  months integer := extract(year FROM width) * 12 + extract(month FROM width);
  days integer := extract(day FROM width);
  seconds numeric := extract(hour FROM width) * 3600 + extract(minute FROM width) * 60 + extract(second FROM width);
BEGIN
  IF (months <> 0)::integer + (days <> 0)::integer + (seconds <> 0)::integer = 1 AND (
    (months > 0 AND 12 % months = 0)
    OR days BETWEEN 1 AND 366
    OR (seconds > 0 AND seconds % 60 = 0 AND 86400 % seconds = 0)
  ) THEN
    RETURN;
  END IF;
  RAISE EXCEPTION 'a bucket is as long as some minutes or hours that divide a day, 1 to 366 days, or months that '
    'divide a year, not %', width USING ERRCODE = 'invalid_parameter_value', COLUMN = 'interval';
END
$$;

COMMENT ON FUNCTION occupancy.require_width(interval) IS 'Raises invalid_parameter_value for what no bucket is as long as.';
