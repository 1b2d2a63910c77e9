CREATE OR REPLACE FUNCTION occupancy.reconciliation(dpu integer, from_time timestamptz, to_time timestamptz)
RETURNS TABLE (
  hour timestamptz, stored bigint, towards bigint, away bigint, reported bigint,
  seq_lowest bigint, seq_highest bigint, seq_missing bigint, seq_missing_before bigint, restarts bigint,
  rejected bigint, missing bigint, matches boolean
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
  -- The hours and, without one, the range as a whole; the same is asked of each.
  WITH span AS (
    SELECT start AS hour, start, start + INTERVAL '1 hour' AS until
    FROM generate_series(from_time, to_time - INTERVAL '1 hour', INTERVAL '1 hour') AS start
    UNION ALL
    SELECT NULL, from_time, to_time
  ), event AS (
    SELECT passed.hour, count(*) AS stored, count(*) FILTER (WHERE passed.direction = 1) AS towards,
      count(*) FILTER (WHERE passed.direction = -1) AS away, count(*) FILTER (WHERE passed.seq = 0) AS unnumbered,
      min(passed.seq) FILTER (WHERE passed.seq > 0) AS lowest, max(passed.seq) FILTER (WHERE passed.seq > 0) AS highest
    FROM (
      SELECT public.time_bucket(INTERVAL '1 hour', crossing.time) AS hour, crossing.direction, crossing.seq
      FROM occupancy.crossing
      WHERE crossing.dpu = reconciliation.dpu AND crossing.time >= from_time AND crossing.time < to_time
    ) AS passed
    GROUP BY GROUPING SETS ((passed.hour), ())
  ), said AS (
    SELECT report.hour, sum(report.events)::bigint AS events, count(DISTINCT report.hour) AS hours
    FROM occupancy.reports_of_dpu(reconciliation.dpu, from_time, to_time) AS report
    WHERE report.hour >= from_time AND report.hour < to_time
    GROUP BY GROUPING SETS ((report.hour), ())
  ), refused AS (
    SELECT public.time_bucket(INTERVAL '1 hour', aside.at) AS hour, count(*) AS events
    FROM occupancy.dpu
    CROSS JOIN LATERAL occupancy.rejected_of_dpu(
      -- a device's clock that is ahead by more makes its events future_time, which count when they came
      dpu.organization, dpu.dpu_id, from_time - INTERVAL '24 hours') AS aside
    WHERE dpu.id = reconciliation.dpu AND aside.at >= from_time AND aside.at < to_time
    GROUP BY GROUPING SETS ((public.time_bucket(INTERVAL '1 hour', aside.at)), ())
  ), known AS MATERIALIZED (
    SELECT min(number.at) AS since, max(number.at) AS until
    FROM occupancy.seq_numbers(reconciliation.dpu, from_time, to_time) AS number
  ), broken AS MATERIALIZED (
    SELECT found.kind, found.missing, least(found.after_time, found.before_time) AS since,
      greatest(found.after_time, found.before_time) AS until
    FROM occupancy.seq_breaks(reconciliation.dpu, from_time, to_time) AS found
  ), piece AS (
    SELECT touched.hour, touched.hour AS start, touched.hour + INTERVAL '1 hour' AS span_end, broken.*
    FROM broken
    CROSS JOIN LATERAL generate_series(
      public.time_bucket(INTERVAL '1 hour', greatest(broken.since, from_time)),
      least(broken.until, to_time - INTERVAL '1 microsecond'), INTERVAL '1 hour') AS touched (hour)
    UNION ALL
    SELECT NULL, from_time, to_time, broken.*
    FROM broken
    WHERE broken.until >= from_time
  ), gap AS (
    SELECT piece.hour,
      sum(piece.missing) FILTER (
        WHERE piece.kind <> 'pending' AND piece.since >= piece.start AND piece.until < piece.span_end) AS within,
      sum(piece.missing) FILTER (
        WHERE piece.kind <> 'pending' AND piece.since < piece.start AND piece.until < piece.span_end) AS across,
      count(*) FILTER (WHERE piece.kind = 'restart' AND piece.until < piece.span_end) AS restarts,
      -- nobody knows how many of the missing ones were in this span, or got lost before a restart
      bool_or(piece.since < piece.span_end AND piece.until > piece.start AND (piece.missing > 0 OR piece.kind <> 'pending')
        AND (piece.kind <> 'gap' OR piece.since < piece.start OR piece.until >= piece.span_end)) AS is_open
    FROM piece
    GROUP BY piece.hour
  ), compared AS (
    SELECT span.*, span.start >= kept.since AS is_kept,
      coalesce(event.stored, 0) AS stored, coalesce(event.towards, 0) AS towards, coalesce(event.away, 0) AS away,
      CASE WHEN span.hour IS NOT NULL OR said.hours * INTERVAL '1 hour' = span.until - span.start THEN said.events END
        AS reported,
      event.lowest, event.highest, coalesce(refused.events, 0) AS rejected,
      -- numbers that make no sense may add up to more than a bigint holds
      least(coalesce(gap.within, 0), 9223372036854775807)::bigint AS within,
      least(coalesce(gap.across, 0), 9223372036854775807)::bigint AS across,
      coalesce(gap.restarts, 0) AS restarts, coalesce(gap.is_open, false) AS is_open,
      coalesce(known.since <= span.start AND known.until >= span.until AND coalesce(event.unnumbered, 0) = 0, false)
        AS is_numbered
    FROM span
    CROSS JOIN (SELECT occupancy.stored_since() AS since) AS kept
    CROSS JOIN known
    LEFT JOIN event ON event.hour IS NOT DISTINCT FROM span.hour
    LEFT JOIN said ON said.hour IS NOT DISTINCT FROM span.hour
    LEFT JOIN refused ON refused.hour IS NOT DISTINCT FROM span.hour
    LEFT JOIN gap ON gap.hour IS NOT DISTINCT FROM span.hour
  ), judged AS (
    SELECT compared.*,
      CASE
        WHEN compared.reported IS NOT NULL THEN greatest(compared.reported - compared.stored, 0)
        WHEN compared.is_numbered AND NOT compared.is_open THEN compared.within
      END AS missing,
      CASE
        WHEN compared.reported IS NOT NULL THEN compared.reported = compared.stored
        WHEN compared.within > 0 THEN false
        WHEN compared.is_numbered AND NOT compared.is_open THEN true
      END AS matches
    FROM compared
  )
  SELECT judged.hour,
    CASE WHEN judged.is_kept THEN judged.stored END,
    CASE WHEN judged.is_kept THEN judged.towards END,
    CASE WHEN judged.is_kept THEN judged.away END,
    judged.reported,
    CASE WHEN judged.is_kept THEN judged.lowest END,
    CASE WHEN judged.is_kept THEN judged.highest END,
    CASE WHEN judged.is_kept AND (judged.lowest IS NOT NULL OR judged.is_numbered) THEN judged.within END,
    CASE WHEN judged.is_kept AND (judged.lowest IS NOT NULL OR judged.is_numbered) THEN judged.across END,
    CASE WHEN judged.is_kept THEN judged.restarts END,
    judged.rejected,
    CASE WHEN judged.is_kept THEN judged.missing END,
    CASE
      WHEN NOT judged.is_kept THEN NULL
      -- the whole is no better than its hours
      WHEN judged.hour IS NULL AND bool_or(judged.matches IS false) OVER () THEN false
      ELSE judged.matches
    END
  FROM judged
  ORDER BY judged.hour NULLS LAST
$$;

COMMENT ON FUNCTION occupancy.reconciliation(integer, timestamptz, timestamptz) IS
  'What a DPU says it sent against what is stored, by hour (UTC) of [from_time, to_time), which begins and ends at whole '
  'hours; a last row without an hour is the range as a whole. missing is null where neither a report nor the numbers '
  '(seq) tell, matches where there is nothing to compare with, stored where single crossings were dropped by age.';
