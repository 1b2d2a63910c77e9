CREATE OR REPLACE FUNCTION occupancy.cuts(
  from_time timestamptz, to_time timestamptz, width interval, time_zone text
) RETURNS timestamptz[]
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  instant CONSTANT interval := '1 microsecond';
  whole_day CONSTANT interval := '24 hours';
  -- ten years of minutes: they are made in memory
  most CONSTANT integer := 5300000;
  first_day date := (from_time AT TIME ZONE time_zone)::date;
  last_day date := ((to_time - instant) AT TIME ZONE time_zone)::date;
  cuts timestamptz[] := '{}';
  regular_from timestamptz := occupancy.first_instant(first_day, time_zone);
  day record;
BEGIN
  PERFORM occupancy.require_range(from_time, to_time);
  PERFORM occupancy.require_width(width);
  IF date_part('epoch', to_time - from_time) / date_part('epoch', width) > most THEN
    RAISE EXCEPTION 'these are more than % buckets: ask for a part of the range at a time, or for wider ones', most
      USING ERRCODE = 'invalid_parameter_value', COLUMN = 'interval';
  END IF;
  width := justify_hours(width);
  IF width >= INTERVAL '1 day' THEN
    cuts := ARRAY(
      SELECT DISTINCT occupancy.first_instant(begin, time_zone) AS cut
      FROM occupancy.calendar_dates(first_day, last_day, width) AS begin
      ORDER BY cut
    );
  ELSE
    -- Most local days have 24 hours: their buckets follow each other without looking at the clock.
    FOR day IN
      SELECT begins.at, begins.next
      FROM (
        SELECT first.at, lead(first.at) OVER (ORDER BY first.at) AS next
        FROM generate_series(first_day::timestamp, last_day::timestamp + INTERVAL '1 day', INTERVAL '1 day') AS d
        CROSS JOIN LATERAL (SELECT occupancy.first_instant(d::date, time_zone) AS at) AS first
      ) AS begins
      -- a day that clocks skipped is none
      WHERE begins.next <> begins.at
        AND (begins.next - begins.at <> whole_day OR (begins.at AT TIME ZONE time_zone)::time <> '00:00')
      ORDER BY begins.at
    LOOP
      cuts := cuts || ARRAY(SELECT generate_series(regular_from, day.at - instant, width))
        || occupancy.clock_cuts(day.at, day.next, width, time_zone);
      regular_from := day.next;
    END LOOP;
    cuts := cuts || ARRAY(SELECT generate_series(
      regular_from, occupancy.first_instant(last_day + 1, time_zone), width));
  END IF;
  -- from the bucket that holds from_time to the end of the one that holds the last instant before to_time
  RETURN cuts[width_bucket(from_time, cuts) : width_bucket(to_time - instant, cuts) + 1];
END
$$;

COMMENT ON FUNCTION occupancy.cuts(timestamptz, timestamptz, interval, text) IS
  'Where the calendar buckets of a width begin that overlap [from_time, to_time), in local time, and where the last of '
  'them ends: n + 1 instants for n buckets. Days are 23 or 25 hours long where clocks change; below a day, a bucket '
  'begins when clocks show a multiple of the width.';
