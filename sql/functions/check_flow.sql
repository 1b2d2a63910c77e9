CREATE OR REPLACE FUNCTION occupancy.check_flow(from_time timestamptz, to_time timestamptz)
RETURNS TABLE (
  level text, space integer, bucket timestamptz,
  stored_entries bigint, stored_exits bigint, stored_last_crossing timestamptz,
  right_entries bigint, right_exits bigint, right_last_crossing timestamptz
)
LANGUAGE sql STABLE
SET search_path = pg_catalog
AS $$
  -- Each level against the one below it, the finest against the crossings: equal at every step is equal to the bottom.
  WITH width_of (level, width) AS (
    VALUES ('15m', INTERVAL '15 minutes'), ('1d', INTERVAL '24 hours'), ('30d', INTERVAL '720 hours')
  ), stored AS (
    SELECT '15m' AS level, flow.* FROM occupancy.flow_15m AS flow WHERE flow.bucket >= from_time AND flow.bucket < to_time
    UNION ALL
    SELECT '1d', flow.* FROM occupancy.flow_1d AS flow WHERE flow.bucket >= from_time AND flow.bucket < to_time
    UNION ALL
    SELECT '30d', flow.* FROM occupancy.flow_30d AS flow WHERE flow.bucket >= from_time AND flow.bucket < to_time
  ), part AS (
    SELECT '15m' AS level, effect.space, public.time_bucket(INTERVAL '15 minutes', crossing.time) AS bucket,
      count(*) FILTER (WHERE crossing.direction * effect.sign > 0) AS entries,
      count(*) FILTER (WHERE crossing.direction * effect.sign < 0) AS exits,
      max(crossing.time) AS last_crossing
    FROM occupancy.crossing
    JOIN occupancy.effect ON effect.dpu = crossing.dpu
      AND crossing.time >= effect.valid_from AND crossing.time < effect.valid_to
    WHERE crossing.time >= from_time AND crossing.time < to_time + INTERVAL '15 minutes'
    GROUP BY 2, 3
    UNION ALL
    SELECT '1d', flow.space, public.time_bucket(INTERVAL '24 hours', flow.bucket),
      sum(flow.entries), sum(flow.exits), max(flow.last_crossing)
    FROM occupancy.flow_15m AS flow
    WHERE flow.bucket >= from_time AND flow.bucket < to_time + INTERVAL '24 hours'
    GROUP BY 2, 3
    UNION ALL
    SELECT '30d', flow.space, public.time_bucket(INTERVAL '720 hours', flow.bucket),
      sum(flow.entries), sum(flow.exits), max(flow.last_crossing)
    FROM occupancy.flow_1d AS flow
    WHERE flow.bucket >= from_time AND flow.bucket < to_time + INTERVAL '720 hours'
    GROUP BY 2, 3
  ), correct AS (
    SELECT part.* FROM part WHERE part.bucket >= from_time AND part.bucket < to_time
  )
  SELECT level, space, bucket,
    stored.entries, stored.exits, stored.last_crossing,
    correct.entries, correct.exits, correct.last_crossing
  FROM stored
  FULL JOIN correct USING (level, space, bucket)
  JOIN width_of USING (level)
  CROSS JOIN occupancy.horizon
  WHERE (stored.entries, stored.exits, stored.last_crossing)
    IS DISTINCT FROM (correct.entries::bigint, correct.exits::bigint, correct.last_crossing)
    AND bucket + width_of.width <= horizon.read_before
    -- what is marked is known to differ, and no reader relies on it; nor on what follows it in the same bucket
    AND NOT EXISTS (
      SELECT FROM occupancy.stale
      WHERE stale.space = coalesce(stored.space, correct.space)
        AND stale.since < bucket + width_of.width AND stale.until > bucket
    )
$$;

COMMENT ON FUNCTION occupancy.check_flow(timestamptz, timestamptz) IS
  'Trusted buckets that start in [from_time, to_time) and do not hold what follows from the crossings: none, if all is '
  'well. A row that is missing has nulls as stored, one that should not be has nulls as right.';
