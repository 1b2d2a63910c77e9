CREATE OR REPLACE FUNCTION occupancy.seq_summary(dpu integer, from_time timestamptz, to_time timestamptz)
RETURNS TABLE (
  stored bigint, unnumbered bigint, lowest bigint, highest bigint, missing bigint, gaps bigint, restarts bigint,
  pending bigint
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
  SELECT event.stored, event.unnumbered, event.lowest, event.highest, broken.missing, broken.gaps, broken.restarts,
    -- null: there is no heartbeat behind the last event, or it speaks of no number
    CASE WHEN EXISTS (
        SELECT FROM occupancy.seq_numbers(seq_summary.dpu, from_time, to_time) AS number
        WHERE number.place = 'heartbeat'
      ) THEN broken.pending END
  FROM (
    SELECT count(*) FILTER (WHERE crossing.seq > 0) AS stored, count(*) FILTER (WHERE crossing.seq = 0) AS unnumbered,
      min(crossing.seq) FILTER (WHERE crossing.seq > 0) AS lowest,
      max(crossing.seq) FILTER (WHERE crossing.seq > 0) AS highest
    FROM occupancy.crossing
    WHERE crossing.dpu = seq_summary.dpu AND crossing.time >= from_time AND crossing.time < to_time
  ) AS event
  CROSS JOIN (
    SELECT coalesce(sum(found.missing) FILTER (WHERE found.kind <> 'pending'), 0)::bigint AS missing,
      count(*) FILTER (WHERE found.kind = 'gap') AS gaps,
      count(*) FILTER (WHERE found.kind = 'restart') AS restarts,
      coalesce(sum(found.missing) FILTER (WHERE found.kind = 'pending'), 0)::bigint AS pending
    FROM occupancy.seq_breaks(seq_summary.dpu, from_time, to_time) AS found
  ) AS broken
$$;

COMMENT ON FUNCTION occupancy.seq_summary(integer, timestamptz, timestamptz) IS
  'The numbers (seq) of the events of a DPU in [from_time, to_time) in brief; seq_breaks has what is missing one by one.';
