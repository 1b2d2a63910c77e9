CREATE OR REPLACE FUNCTION occupancy.local_instant(day date, at time, time_zone text) RETURNS timestamptz
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE at
    WHEN '00:00' THEN occupancy.first_instant(day, time_zone)
    WHEN '24:00' THEN occupancy.first_instant(day + 1, time_zone)
    ELSE (day + at) AT TIME ZONE time_zone
  END
$$;

COMMENT ON FUNCTION occupancy.local_instant(date, time, text) IS
  'When clocks in time_zone show a time on a day: as much later as they jump if they skip it, the second time if they '
  'show it twice; midnight is the instant at which the day begins.';
