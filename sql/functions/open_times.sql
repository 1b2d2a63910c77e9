CREATE OR REPLACE FUNCTION occupancy.open_times(
  from_time timestamptz, to_time timestamptz, hours text, time_zone text
) RETURNS tstzmultirange
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(range_agg(tstzrange(span.opens, span.closes)), '{}') * tstzmultirange(tstzrange(from_time, to_time))
  FROM generate_series(
    -- the day before may still be open; two days, because a zone may have skipped one (Apia, 2011)
    (from_time AT TIME ZONE time_zone)::date::timestamp - INTERVAL '2 days',
    (to_time AT TIME ZONE time_zone)::date::timestamp,
    INTERVAL '1 day'
  ) AS d
  JOIN occupancy.opening_hours(hours) AS rule ON rule.weekday = extract(isodow FROM d)
  CROSS JOIN LATERAL (
    SELECT occupancy.local_instant(d::date, rule.opens, time_zone) AS opens,
      occupancy.local_instant(
        d::date + (rule.closes <= rule.opens)::integer, rule.closes, time_zone) AS closes
  ) AS span
  WHERE span.opens < span.closes
    -- a day that clocks skipped
    AND occupancy.first_instant(d::date, time_zone) < occupancy.first_instant(d::date + 1, time_zone)
$$;

COMMENT ON FUNCTION occupancy.open_times(timestamptz, timestamptz, text, text) IS
  'When it is open in [from_time, to_time) by opening hours (see opening_hours) in local time; null if those are.';
