CREATE OR REPLACE FUNCTION occupancy.calendar_dates(first_day date, last_day date, width interval) RETURNS SETOF date
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  months integer := extract(year FROM width) * 12 + extract(month FROM width);
  days integer := extract(day FROM width);
  -- weeks begin on Mondays, and so do the days that are counted in twos or tens
  monday CONSTANT date := '2000-01-03';
  january CONSTANT date := '2000-01-01';
  step integer;
BEGIN
  IF months > 0 THEN
    step := floor(((extract(year FROM first_day) - 2000) * 12 + extract(month FROM first_day) - 1) / months);
    RETURN QUERY SELECT d::date FROM generate_series(
      january::timestamp + step * width, last_day::timestamp + width, width) AS d;
  ELSE
    step := floor((first_day - monday)::numeric / days);
    RETURN QUERY SELECT d::date FROM generate_series(
      monday::timestamp + step * width, last_day::timestamp + width, width) AS d;
  END IF;
END
$$;

COMMENT ON FUNCTION occupancy.calendar_dates(date, date, interval) IS
  'The dates on which calendar buckets of a width in months or days begin: from that of the bucket of first_day to the '
  'first after last_day. Months are counted from January 2000, days from Monday 3 January 2000.';
