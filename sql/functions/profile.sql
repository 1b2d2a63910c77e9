CREATE OR REPLACE FUNCTION occupancy.profile(
  space integer, from_time timestamptz, to_time timestamptz,
  time_zone text DEFAULT NULL, hours text DEFAULT NULL
) RETURNS TABLE (
  weekday integer, hour integer, mean double precision, peak bigint, mean_peak double precision,
  seconds double precision, utilization double precision, peak_utilization double precision
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT extract(isodow FROM local.start)::integer, extract(hour FROM local.start)::integer,
    sum(bucket.mean * bucket.seconds) / sum(bucket.seconds), max(bucket.max), avg(bucket.max)::float8,
    sum(bucket.seconds),
    sum(bucket.utilization * bucket.seconds) / sum(bucket.seconds), max(bucket.peak_utilization)
  FROM occupancy.space AS wanted
  CROSS JOIN LATERAL occupancy.series(
    ARRAY[wanted.id], from_time, to_time, INTERVAL '1 hour', profile.time_zone, hours) AS bucket
  CROSS JOIN LATERAL (
    SELECT bucket.bucket_start AT TIME ZONE coalesce(profile.time_zone, wanted.time_zone) AS start
  ) AS local
  WHERE wanted.id = profile.space
  GROUP BY 1, 2
$$;

COMMENT ON FUNCTION occupancy.profile(integer, timestamptz, timestamptz, text, text) IS
  'The typical week of a space, from its hourly series: for each weekday (1 is Monday) and local hour that is in the '
  'range, the mean over time, the highest count, the mean of the hours'' highest counts, and for how many seconds it was '
  'looked at. An hour that clocks show twice counts twice.';
