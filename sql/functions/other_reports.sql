CREATE OR REPLACE FUNCTION occupancy.other_reports(
  dpu integer, from_time timestamptz, to_time timestamptz, most integer
) RETURNS TABLE (said_from timestamptz, said_to timestamptz, reported integer, stored bigint, matches boolean)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
  WITH report AS MATERIALIZED (
    SELECT said.said_from, said.said_to, said.events
    FROM occupancy.reports_of_dpu(other_reports.dpu, from_time, to_time) AS said
    WHERE said.hour IS NULL
    ORDER BY said.said_from, said.said_to
    LIMIT most
  ), waiting AS MATERIALIZED (
    SELECT broken.missing AS events, broken.after_time AS since, broken.before_time AS until
    FROM occupancy.seq_breaks(other_reports.dpu, from_time, to_time) AS broken
    WHERE broken.kind = 'pending'
  ), held AS MATERIALIZED (
    SELECT crossing.time
    FROM occupancy.dpu
    JOIN occupancy.held_crossing AS crossing
      ON crossing.organization = dpu.organization AND crossing.dpu_id = dpu.dpu_id
    WHERE dpu.id = other_reports.dpu
  )
  SELECT report.said_from, report.said_to, report.events, counted.events,
    CASE
      -- as in reconciliation
      WHEN report.events < counted.events THEN false
      WHEN EXISTS (SELECT FROM held WHERE held.time >= report.said_from AND held.time < report.said_to) THEN NULL
      WHEN report.events = counted.events THEN true
      WHEN report.said_to <= now() - INTERVAL '15 minutes' AND NOT EXISTS (
        SELECT FROM waiting
        WHERE waiting.since < report.said_to AND waiting.until > report.said_from
          AND waiting.events >= report.events - counted.events
      ) THEN report.events = counted.events
    END
  FROM report
  CROSS JOIN (SELECT occupancy.stored_since() AS since) AS kept
  LEFT JOIN LATERAL (
    SELECT count(*) AS events
    FROM occupancy.crossing
    WHERE crossing.dpu = other_reports.dpu
      AND crossing.time >= report.said_from AND crossing.time < report.said_to
      -- what the planner can see, to leave out chunks
      AND crossing.time >= other_reports.from_time - INTERVAL '745 hours'
      AND crossing.time < other_reports.to_time + INTERVAL '745 hours'
  ) AS counted ON report.said_from >= kept.since
$$;

COMMENT ON FUNCTION occupancy.other_reports(integer, timestamptz, timestamptz, integer) IS
  'The first `most` of what a DPU says it sent in ranges that touch [from_time, to_time) and fit no hour (see '
  'reports_of_dpu), and what is stored of these ranges; stored is null where single crossings were dropped by age, matches '
  'there and where what is missing may still come (see reconciliation).';
