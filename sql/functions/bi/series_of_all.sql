CREATE OR REPLACE FUNCTION bi.series_of_all(
  from_time timestamptz, to_time timestamptz, width interval,
  time_zone text DEFAULT NULL, hours text DEFAULT NULL
) RETURNS TABLE (
  space_id text, bucket_start timestamptz, bucket_end timestamptz, seconds double precision,
  first bigint, last bigint, min bigint, max bigint, mean double precision, net_min bigint,
  entries bigint, exits bigint, utilization double precision, peak_utilization double precision
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT space.space_id, course.bucket_start, course.bucket_end, course.seconds, course.first, course.last,
    course.min, course.max, course.mean, course.net_min, course.entries, course.exits,
    course.utilization, course.peak_utilization
  FROM occupancy.series(
    ARRAY(
      SELECT visible.id FROM occupancy.space AS visible
      WHERE visible.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
        AND visible.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible)
    ),
    series_of_all.from_time, series_of_all.to_time, series_of_all.width,
    series_of_all.time_zone, series_of_all.hours) AS course
  JOIN occupancy.space ON space.id = course.space
  ORDER BY space.space_id, course.bucket_start
$$;

COMMENT ON FUNCTION bi.series_of_all(timestamptz, timestamptz, interval, text, text) IS
  'bi.series of all spaces in one go, each in its own time zone if time_zone is null.';
