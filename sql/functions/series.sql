CREATE OR REPLACE FUNCTION occupancy.series(
  spaces integer[], from_time timestamptz, to_time timestamptz, width interval,
  time_zone text DEFAULT NULL, hours text DEFAULT NULL
) RETURNS TABLE (
  space integer, bucket_start timestamptz, bucket_end timestamptz, seconds double precision,
  first bigint, last bigint, min bigint, max bigint, mean double precision, net_min bigint,
  entries bigint, exits bigint, utilization double precision, peak_utilization double precision
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  calendar record;
  cuts timestamptz[];
BEGIN
  -- here, because cuts knows no null
  PERFORM occupancy.require_range(from_time, to_time);
  PERFORM occupancy.require_width(width);
  FOR calendar IN
    SELECT coalesce(series.time_zone, space.time_zone) AS time_zone, array_agg(space.id) AS spaces
    FROM occupancy.space
    WHERE space.id = ANY (series.spaces)
    GROUP BY 1
  LOOP
    cuts := occupancy.cuts(from_time, to_time, width, calendar.time_zone);
    RETURN QUERY
    SELECT course.space, course.bucket_start, course.bucket_end, course.seconds,
      greatest(course.first, 0), greatest(course.last, 0), greatest(course.min, 0), greatest(course.max, 0),
      greatest(course.mean, 0), course.min, course.entries, course.exits,
      greatest(course.mean, 0) / limits.people, greatest(course.max, 0) / limits.people
    FROM occupancy.series_of_net(calendar.spaces, cuts, occupancy.open_times(
      cuts[1], cuts[cardinality(cuts)], series.hours, calendar.time_zone)) AS course
    JOIN (
      SELECT space.id, nullif(space.capacity, 0)::float8 AS people
      FROM occupancy.space
      WHERE space.id = ANY (calendar.spaces)
    ) AS limits ON limits.id = course.space;
  END LOOP;
END
$$;

COMMENT ON FUNCTION occupancy.series(integer[], timestamptz, timestamptz, interval, text, text) IS
  'How the count of spaces ran, in the calendar buckets of a width that overlap [from_time, to_time), by local time of '
  'time_zone (each space''s own, if null), during hours (see opening_hours; always, if null). As series_of_net, but '
  'never below 0, as a count is; net_min: the lowest net, below 0 where sensors have missed people. utilization and '
  'peak_utilization: mean and max over the capacity, null without one.';
