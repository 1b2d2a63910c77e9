CREATE OR REPLACE FUNCTION occupancy.whole_buckets(
  after_time timestamptz, until_time timestamptz,
  OUT quarters_from timestamptz, OUT days_from timestamptz, OUT months_from timestamptz,
  OUT months_to timestamptz, OUT days_to timestamptz, OUT quarters_to timestamptz
)
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- the next bucket at or after a boundary is the one after the instant before it
  instant CONSTANT interval := '1 microsecond';
BEGIN
  -- Widths in hours: a day added to a timestamptz is 23 or 25 hours long where the session's time zone says so.
  -- A bucket holds its first instant, the range (after_time, until_time] does not: hence the next one even if equal.
  quarters_from := public.time_bucket('15 minutes', after_time) + INTERVAL '15 minutes';
  quarters_to := greatest(quarters_from, public.time_bucket('15 minutes', until_time));

  -- Where no whole day fits, the two ranges of quarters meet in one point; days and months likewise.
  days_from := least(quarters_to, public.time_bucket('24 hours', quarters_from - instant) + INTERVAL '24 hours');
  days_to := greatest(days_from, public.time_bucket('24 hours', quarters_to));
  months_from := least(days_to, public.time_bucket('720 hours', days_from - instant) + INTERVAL '720 hours');
  months_to := greatest(months_from, public.time_bucket('720 hours', days_to));
END
$$;

COMMENT ON FUNCTION occupancy.whole_buckets(timestamptz, timestamptz) IS
  'Splits (after_time, until_time] into whole buckets, from fine to coarse and back: quarters of an hour in '
  '[quarters_from, days_from), days in [days_from, months_from), 30 days in [months_from, months_to), days in '
  '[months_to, days_to), quarters in [days_to, quarters_to). What is left at both ends is for the raw crossings.';
