CREATE OR REPLACE FUNCTION occupancy.first_instant(day date, time_zone text) RETURNS timestamptz
LANGUAGE sql STABLE STRICT PARALLEL SAFE
-- Of a midnight that comes twice, AT TIME ZONE gives the second. A midnight that is skipped counts as much later as the
-- clocks jumped, which is the first instant of the day.
RETURN (day::timestamp AT TIME ZONE time_zone) - CASE
  WHEN ((day::timestamp AT TIME ZONE time_zone) - INTERVAL '2 hours') AT TIME ZONE time_zone >= day::timestamp
    THEN INTERVAL '2 hours'
  WHEN ((day::timestamp AT TIME ZONE time_zone) - INTERVAL '1 hour') AT TIME ZONE time_zone >= day::timestamp
    THEN INTERVAL '1 hour'
  WHEN ((day::timestamp AT TIME ZONE time_zone) - INTERVAL '30 minutes') AT TIME ZONE time_zone >= day::timestamp
    THEN INTERVAL '30 minutes'
  ELSE INTERVAL '0'
END;

COMMENT ON FUNCTION occupancy.first_instant(date, text) IS 'The instant at which a local day begins.';
