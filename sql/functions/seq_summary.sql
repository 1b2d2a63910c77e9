CREATE OR REPLACE FUNCTION occupancy.seq_summary(dpu integer, from_time timestamptz, to_time timestamptz)
RETURNS TABLE (
  stored bigint, unnumbered bigint, lowest bigint, highest bigint, missing bigint, gaps bigint, restarts bigint,
  out_of_order bigint, pending bigint
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
  SELECT event.stored, event.unnumbered, event.lowest, event.highest, broken.missing, broken.gaps, broken.restarts,
    broken.out_of_order, broken.pending
  FROM (
    SELECT count(*) FILTER (WHERE crossing.seq > 0) AS stored, count(*) FILTER (WHERE crossing.seq = 0) AS unnumbered,
      min(crossing.seq) FILTER (WHERE crossing.seq > 0) AS lowest,
      max(crossing.seq) FILTER (WHERE crossing.seq > 0) AS highest
    FROM occupancy.crossing
    WHERE crossing.dpu = seq_summary.dpu AND crossing.time >= from_time AND crossing.time < to_time
      AND crossing.time >= (SELECT occupancy.stored_since())
  ) AS event
  CROSS JOIN (
    -- numbers that make no sense may add up to more than a bigint holds
    SELECT least(coalesce(sum(found.missing) FILTER (WHERE found.kind <> 'pending'), 0), 9223372036854775807)::bigint
        AS missing,
      count(*) FILTER (WHERE found.kind = 'gap') AS gaps,
      count(*) FILTER (WHERE found.kind = 'restart') AS restarts,
      count(*) FILTER (WHERE found.kind = 'disorder') AS out_of_order,
      -- null: there is no heartbeat behind the last event, or none that says something of the numbers behind it
      (sum(found.missing) FILTER (WHERE found.kind = 'pending'))::bigint AS pending
    FROM occupancy.seq_breaks(seq_summary.dpu, from_time, to_time) AS found
  ) AS broken
$$;

COMMENT ON FUNCTION occupancy.seq_summary(integer, timestamptz, timestamptz) IS
  'The numbers (seq) of the events of a DPU in [from_time, to_time) in brief; seq_breaks has what is missing one by one.';
