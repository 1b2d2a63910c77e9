CREATE OR REPLACE FUNCTION occupancy.seq_numbers(dpu integer, from_time timestamptz, to_time timestamptz)
RETURNS TABLE (at timestamptz, seq bigint, place text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
  WITH behind AS MATERIALIZED (
    SELECT passed.at, passed.seq
    FROM occupancy.crossings_page(
      ARRAY[seq_numbers.dpu], ARRAY[to_time], ARRAY[greatest(to_time, now() + INTERVAL '24 hours')],
      NULL, NULL, NULL, 1, false) AS passed
  ), ahead AS MATERIALIZED (
    SELECT passed.at, passed.seq FROM occupancy.last_crossings(ARRAY[seq_numbers.dpu], from_time) AS passed
  ), within AS MATERIALIZED (
    SELECT crossing.time AS at, crossing.seq
    FROM occupancy.crossing
    WHERE crossing.dpu = seq_numbers.dpu AND crossing.time >= from_time AND crossing.time < to_time
      -- what is about to be dropped is not read any more
      AND crossing.time >= (SELECT occupancy.stored_since())
  )
  SELECT ahead.at, ahead.seq, 'before' FROM ahead WHERE ahead.seq > 0
  UNION ALL
  SELECT within.at, within.seq, 'within' FROM within WHERE within.seq > 0
  UNION ALL
  SELECT behind.at, behind.seq, 'after' FROM behind WHERE behind.seq > 0
  UNION ALL
  -- Up to and including its seq the device had sent them all: as if the next one came here.
  SELECT heartbeat.time, heartbeat.seq + 1, 'heartbeat'
  FROM occupancy.heartbeat
  WHERE heartbeat.dpu = seq_numbers.dpu AND heartbeat.seq BETWEEN 1 AND 9223372036854775806
    AND heartbeat.time = heartbeat.sent_at
    AND NOT EXISTS (SELECT FROM behind)
    AND heartbeat.time >= greatest((SELECT max(within.at) FROM within), (SELECT ahead.at FROM ahead))
$$;

COMMENT ON FUNCTION occupancy.seq_numbers(integer, timestamptz, timestamptz) IS
  'What numbers (seq) a DPU gave its events in [from_time, to_time), that of the last event before and of the first one '
  'after; where there is none after, the one behind that of its heartbeat. 0 is no number.';
