CREATE OR REPLACE FUNCTION occupancy.bucket_of(
  space integer, bucket_start timestamptz, bucket_end timestamptz,
  OUT seconds double precision, OUT first bigint, OUT last bigint, OUT min bigint, OUT max bigint,
  OUT mean double precision, OUT net_min bigint, OUT entries bigint, OUT exits bigint,
  OUT utilization double precision, OUT peak_utilization double precision
)
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  quarter CONSTANT interval := '15 minutes';
  rule record;
  base bigint;
BEGIN
  SELECT nullif(room.capacity, 0) AS capacity,
    bucket_of.bucket_end <= horizon.read_before
      -- a day of 96 rows at most: wider buckets are better read from the coarser levels
      AND bucket_of.bucket_end - bucket_of.bucket_start <= INTERVAL '25 hours'
      AND public.time_bucket(quarter, bucket_of.bucket_start) = bucket_of.bucket_start
      AND public.time_bucket(quarter, bucket_of.bucket_end) = bucket_of.bucket_end
      AND NOT EXISTS (
        SELECT FROM occupancy.stale
        WHERE stale.space = bucket_of.space
          AND stale.since < bucket_of.bucket_end AND stale.until > bucket_of.bucket_start
      )
      AND NOT EXISTS (
        SELECT FROM occupancy.reset
        WHERE reset.space = bucket_of.space AND reset.at >= bucket_of.bucket_start AND reset.at < bucket_of.bucket_end
      )
      AND (
        room.reset_at IS NULL
        OR occupancy.latest_daily_reset(
          room.reset_at, room.time_zone, bucket_of.bucket_end - INTERVAL '1 microsecond'
        ) < bucket_of.bucket_start
      ) AS plain
  INTO rule
  FROM occupancy.space AS room CROSS JOIN occupancy.horizon
  WHERE room.id = bucket_of.space;

  IF rule.plain THEN
    base := occupancy.net_before(space, bucket_start);
    seconds := date_part('epoch', bucket_end - bucket_start);
    SELECT base + coalesce(sum(part.net_first) FILTER (WHERE part.bucket = bucket_of.bucket_start), 0),
      base + coalesce(sum(part.net), 0),
      base + coalesce(least(min(part.net_before + part.net_low),
        CASE WHEN min(part.bucket) > bucket_of.bucket_start THEN 0 END), 0),
      base + coalesce(greatest(max(part.net_before + part.net_high),
        CASE WHEN min(part.bucket) > bucket_of.bucket_start THEN 0 END), 0),
      base + coalesce(sum(part.person_microseconds::float8 / 1e6
        + part.net * date_part('epoch', bucket_of.bucket_end - (part.bucket + quarter))), 0) / seconds,
      coalesce(sum(part.entries), 0), coalesce(sum(part.exits), 0)
    INTO first, last, net_min, max, mean, entries, exits
    FROM (
      SELECT flow.*, flow.entries - flow.exits AS net,
        sum(flow.entries - flow.exits) OVER (ORDER BY flow.bucket) - (flow.entries - flow.exits) AS net_before
      FROM occupancy.flow_15m AS flow
      WHERE flow.space = bucket_of.space
        AND flow.bucket >= bucket_of.bucket_start AND flow.bucket < bucket_of.bucket_end
    ) AS part;
  ELSE
    SELECT course.seconds, course.first, course.last, course.min, course.max, course.mean, course.net_min,
      course.entries, course.exits, course.utilization, course.peak_utilization
    INTO seconds, first, last, min, max, mean, net_min, entries, exits, utilization, peak_utilization
    FROM occupancy.series_of_cuts(ARRAY[space], ARRAY[bucket_start, bucket_end], NULL) AS course;
    RETURN;
  END IF;

  first := greatest(first, 0);
  last := greatest(last, 0);
  min := greatest(net_min, 0);
  max := greatest(max, 0);
  mean := greatest(mean, 0);
  utilization := mean / rule.capacity;
  peak_utilization := max::float8 / rule.capacity;
END
$$;

COMMENT ON FUNCTION occupancy.bucket_of(integer, timestamptz, timestamptz) IS
  'One bucket of series, for views that have one row per bucket. For many buckets, series is faster.';
