CREATE OR REPLACE FUNCTION occupancy.touched_buckets(
  spaces integer[], from_times timestamptz[], to_times timestamptz[], width interval, read_before timestamptz
) RETURNS TABLE (space integer, bucket timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  -- Several ranges may touch one bucket: each bucket once. Widths are in hours, so that no session's time zone
  -- makes a day of 23 of them.
  SELECT DISTINCT range.space, series.bucket
  FROM unnest(spaces, from_times, to_times) AS range (space, from_time, to_time)
  CROSS JOIN LATERAL generate_series(
    public.time_bucket(width, range.from_time), range.to_time - INTERVAL '1 microsecond', width
  ) AS series (bucket)
  WHERE series.bucket + width <= read_before
$$;

COMMENT ON FUNCTION occupancy.touched_buckets(integer[], timestamptz[], timestamptz[], interval, timestamptz) IS
  'The buckets of a level that overlap [from_times[i], to_times[i]) of spaces[i] and have ended by read_before.';
