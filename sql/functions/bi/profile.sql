CREATE OR REPLACE FUNCTION bi.profile(
  space text, from_time timestamptz, to_time timestamptz,
  time_zone text DEFAULT NULL, hours text DEFAULT NULL
) RETURNS TABLE (
  weekday integer, hour integer, mean double precision, peak bigint, mean_peak double precision,
  seconds double precision, utilization double precision, peak_utilization double precision
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT typical.weekday, typical.hour, typical.mean, typical.peak, typical.mean_peak, typical.seconds,
    typical.utilization, typical.peak_utilization
  FROM occupancy.profile(
    occupancy.visible_space(profile.space),
    profile.from_time, profile.to_time, profile.time_zone, profile.hours) AS typical
  ORDER BY typical.weekday, typical.hour
$$;

COMMENT ON FUNCTION bi.profile(text, timestamptz, timestamptz, text, text) IS
  'The typical week of a space: for each weekday (1 is Monday) and local hour in [from_time, to_time) the mean over '
  'time, the highest count, the mean of the hours'' highest counts, and for how many seconds it was looked at.';
