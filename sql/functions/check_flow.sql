CREATE OR REPLACE FUNCTION occupancy.check_flow(from_time timestamptz, to_time timestamptz)
RETURNS TABLE (level text, space integer, bucket timestamptz, stored json, correct json)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
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
    SELECT '15m' AS level, INTERVAL '0' AS part_width, effect.space,
      public.time_bucket(INTERVAL '15 minutes', crossing.time) AS bucket, crossing.time,
      crossing.direction * effect.sign AS net,
      (crossing.direction * effect.sign > 0)::integer AS entries, (crossing.direction * effect.sign < 0)::integer AS exits,
      crossing.time AS last_crossing, 0::numeric AS person_microseconds,
      crossing.direction * effect.sign AS net_first,
      crossing.direction * effect.sign AS net_high, crossing.direction * effect.sign AS net_low
    FROM occupancy.crossing
    JOIN occupancy.effect ON effect.dpu = crossing.dpu
      AND crossing.time >= effect.valid_from AND crossing.time < effect.valid_to
    WHERE crossing.time >= from_time AND crossing.time < to_time + INTERVAL '15 minutes'
    UNION ALL
    SELECT '1d', INTERVAL '15 minutes', flow.space, public.time_bucket(INTERVAL '24 hours', flow.bucket), flow.bucket,
      flow.entries - flow.exits, flow.entries, flow.exits, flow.last_crossing, flow.person_microseconds,
      flow.net_first, flow.net_high, flow.net_low
    FROM occupancy.flow_15m AS flow
    WHERE flow.bucket >= from_time AND flow.bucket < to_time + INTERVAL '24 hours'
    UNION ALL
    SELECT '30d', INTERVAL '24 hours', flow.space, public.time_bucket(INTERVAL '720 hours', flow.bucket), flow.bucket,
      flow.entries - flow.exits, flow.entries, flow.exits, flow.last_crossing, flow.person_microseconds,
      flow.net_first, flow.net_high, flow.net_low
    FROM occupancy.flow_1d AS flow
    WHERE flow.bucket >= from_time AND flow.bucket < to_time + INTERVAL '720 hours'
  ), step AS (
    SELECT part.*,
      part.bucket + width_of.width - (part.time + part.part_width) AS rest,
      sum(part.net) OVER (PARTITION BY part.level, part.space, part.bucket ORDER BY part.time) - part.net AS net_before
    FROM part JOIN width_of USING (level)
    WHERE part.bucket >= from_time AND part.bucket < to_time
  ), correct AS (
    SELECT level, space, bucket, sum(entries) AS entries, sum(exits) AS exits, max(last_crossing) AS last_crossing,
      sum(person_microseconds + net * occupancy.microseconds(rest)::numeric) AS person_microseconds,
      coalesce(sum(net_first) FILTER (WHERE time = bucket), 0) AS net_first,
      greatest(max(net_before + net_high), CASE WHEN min(time) > bucket THEN 0 END) AS net_high,
      least(min(net_before + net_low), CASE WHEN min(time) > bucket THEN 0 END) AS net_low
    FROM step
    GROUP BY level, space, bucket
  )
  SELECT level, space, bucket, row_to_json(stored) AS stored, row_to_json(correct) AS correct
  FROM stored
  FULL JOIN correct USING (level, space, bucket)
  JOIN width_of USING (level)
  CROSS JOIN occupancy.horizon
  WHERE (stored.entries, stored.exits, stored.last_crossing, stored.person_microseconds,
      stored.net_first, stored.net_high, stored.net_low)
    IS DISTINCT FROM (correct.entries, correct.exits, correct.last_crossing, correct.person_microseconds,
      correct.net_first, correct.net_high, correct.net_low)
    AND bucket + width_of.width <= horizon.read_before
    -- what no crossings are left for
    AND (level <> '15m' OR bucket >= horizon.dropped_before)
    -- what is marked is known to differ, and no reader relies on it; nor on what follows it in the same bucket
    AND NOT EXISTS (
      SELECT FROM occupancy.stale
      WHERE stale.space = coalesce(stored.space, correct.space)
        AND stale.since < bucket + width_of.width AND stale.until > bucket
    )
$$;

COMMENT ON FUNCTION occupancy.check_flow(timestamptz, timestamptz) IS
  'Trusted buckets that start in [from_time, to_time) and do not hold what follows from the crossings: none, if all is '
  'well. stored and correct: the columns of the row; null for a row that is missing, or that should not be.';
