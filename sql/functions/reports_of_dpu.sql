CREATE OR REPLACE FUNCTION occupancy.reports_of_dpu(dpu integer, from_time timestamptz, to_time timestamptz)
RETURNS TABLE (said_from timestamptz, said_to timestamptz, events integer, hour timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
  WITH report AS (
    SELECT said.from_time, said.to_time, said.events, said.hour,
      said.to_time <= said.hour + INTERVAL '1 hour' AS fits,
      said.from_time = said.hour AND said.to_time = said.hour + INTERVAL '1 hour' AS whole
    FROM (
      SELECT sent_report.from_time, sent_report.to_time, sent_report.events,
        public.time_bucket(INTERVAL '1 hour', sent_report.from_time) AS hour
      FROM occupancy.sent_report
      WHERE sent_report.dpu = reports_of_dpu.dpu
        -- none is longer than this
        AND sent_report.from_time > reports_of_dpu.from_time - INTERVAL '745 hours'
        AND sent_report.from_time < reports_of_dpu.to_time AND sent_report.to_time > reports_of_dpu.from_time
    ) AS said
  ), part AS (
    SELECT report.*, lag(report.to_time) OVER (PARTITION BY report.hour ORDER BY report.from_time, report.to_time)
      AS last_to
    FROM report
    WHERE report.fits AND NOT report.whole
  ), filled AS (
    SELECT part.hour
    FROM part
    GROUP BY part.hour
    HAVING bool_and(coalesce(part.last_to = part.from_time, part.from_time = part.hour))
      AND max(part.to_time) = part.hour + INTERVAL '1 hour'
  )
  SELECT report.from_time, report.to_time, report.events,
    CASE
      WHEN report.whole THEN report.hour
      WHEN report.fits AND report.hour IN (SELECT filled.hour FROM filled)
        AND NOT EXISTS (SELECT FROM report AS other WHERE other.hour = report.hour AND other.whole)
      THEN report.hour
    END
  FROM report
$$;

COMMENT ON FUNCTION occupancy.reports_of_dpu(integer, timestamptz, timestamptz) IS
  'What a DPU says it sent in ranges that touch [from_time, to_time), and the hour (UTC) whose number of events it is or '
  'is a part of: the report of the whole hour, or else those that follow on one another from its beginning to its end. '
  'hour is null for all others: they can be compared over their own range only.';
