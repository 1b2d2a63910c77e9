CREATE OR REPLACE FUNCTION occupancy.latest_daily_reset(reset_at time, time_zone text, at timestamptz)
RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  -- Two days back is enough: a zone that skipped a whole day (Apia, 2011) skipped one.
  SELECT max(candidate)
  FROM generate_series(-2, 1) AS day,
    LATERAL (SELECT ((at AT TIME ZONE time_zone)::date + day + reset_at) AT TIME ZONE time_zone) AS c (candidate)
  WHERE candidate <= at
$$;

COMMENT ON FUNCTION occupancy.latest_daily_reset(time, text, timestamptz) IS
  'The last instant at or before `at` when clocks in time_zone showed reset_at. A time skipped by DST counts an hour '
  'later, one that occurs twice counts the second time.';
