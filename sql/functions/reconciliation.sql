CREATE OR REPLACE FUNCTION occupancy.reconciliation(dpu integer, from_time timestamptz, to_time timestamptz)
RETURNS TABLE (
  hour timestamptz, stored bigint, towards bigint, away bigint, reported bigint,
  seq_lowest bigint, seq_highest bigint, seq_missing bigint, seq_missing_before bigint, restarts bigint,
  rejected bigint, missing bigint, pending bigint, matches boolean
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
  -- The hours and, without one, the range as a whole; the same is asked of each.
  WITH lately AS (
    -- Until then an event may be on its way, or be sent again.
    SELECT now() - INTERVAL '15 minutes' AS since
  ), span AS (
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
  ), held AS (
    SELECT public.time_bucket(INTERVAL '1 hour', waiting.time) AS hour, count(*) AS events
    FROM occupancy.dpu
    JOIN occupancy.held_crossing AS waiting
      ON waiting.organization = dpu.organization AND waiting.dpu_id = dpu.dpu_id
    WHERE dpu.id = reconciliation.dpu AND waiting.time >= from_time AND waiting.time < to_time
    GROUP BY GROUPING SETS ((public.time_bucket(INTERVAL '1 hour', waiting.time)), ())
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
      sum(piece.missing) FILTER (
        WHERE piece.kind <> 'pending' AND piece.since >= piece.start AND piece.until < piece.span_end
          AND piece.until < lately.since) AS settled,
      sum(piece.missing) FILTER (
        WHERE piece.kind = 'pending' AND piece.since < piece.span_end AND piece.until > piece.start) AS waiting,
      count(*) FILTER (WHERE piece.kind = 'restart' AND piece.until < piece.span_end) AS restarts,
      -- nobody knows how many of the missing ones were in this span, or got lost before a restart
      bool_or(piece.since < piece.span_end AND piece.until > piece.start AND (piece.missing > 0 OR piece.kind <> 'pending')
        AND (piece.kind <> 'gap' OR piece.since < piece.start OR piece.until >= piece.span_end)) AS is_open
    FROM piece
    CROSS JOIN lately
    GROUP BY piece.hour
  ), compared AS (
    SELECT span.*, span.start >= kept.since AS is_kept,
      coalesce(event.stored, 0) AS stored, coalesce(event.towards, 0) AS towards, coalesce(event.away, 0) AS away,
      CASE WHEN span.hour IS NOT NULL OR said.hours * INTERVAL '1 hour' = span.until - span.start THEN said.events END
        AS reported,
      event.lowest, event.highest, coalesce(refused.events, 0) AS rejected, coalesce(held.events > 0, false) AS is_held,
      -- numbers that make no sense may add up to more than a bigint holds
      least(coalesce(gap.within, 0), 9223372036854775807)::bigint AS within,
      least(coalesce(gap.across, 0), 9223372036854775807)::bigint AS across,
      coalesce(gap.settled, 0) AS settled, gap.waiting,
      coalesce(gap.restarts, 0) AS restarts, coalesce(gap.is_open, false) AS is_open,
      coalesce(known.since <= span.start AND known.until >= span.until AND coalesce(event.unnumbered, 0) = 0, false)
        AS is_numbered
    FROM span
    CROSS JOIN (SELECT occupancy.stored_since() AS since) AS kept
    CROSS JOIN known
    LEFT JOIN event ON event.hour IS NOT DISTINCT FROM span.hour
    LEFT JOIN said ON said.hour IS NOT DISTINCT FROM span.hour
    LEFT JOIN refused ON refused.hour IS NOT DISTINCT FROM span.hour
    LEFT JOIN held ON held.hour IS NOT DISTINCT FROM span.hour
    LEFT JOIN gap ON gap.hour IS NOT DISTINCT FROM span.hour
  ), judged AS (
    SELECT compared.*,
      CASE
        WHEN compared.reported IS NOT NULL THEN greatest(compared.reported - compared.stored, 0)
        WHEN compared.is_numbered AND NOT compared.is_open THEN compared.within
      END AS missing,
      -- what was rejected has come, and what is in a gap does not come by itself either
      CASE WHEN compared.reported IS NOT NULL AND compared.waiting IS NOT NULL THEN
        least(
          compared.waiting, greatest(compared.reported - compared.stored - compared.within - compared.rejected, 0)
        )::bigint
      END AS pending
    FROM compared
  ), decided AS (
    SELECT judged.*,
      CASE
        WHEN judged.reported < judged.stored THEN false
        -- What has come, and waits for its chunk, is not lost.
        WHEN judged.is_held THEN NULL
        WHEN judged.reported = judged.stored THEN true
        WHEN judged.reported IS NOT NULL THEN
          -- What still waits in the device, or is on its way, is not lost.
          CASE WHEN judged.missing > coalesce(judged.pending, 0) AND judged.until <= lately.since THEN false END
        WHEN judged.settled > 0 THEN false
        WHEN judged.is_numbered AND NOT judged.is_open AND judged.within = 0 THEN true
      END AS matches
    FROM judged
    CROSS JOIN lately
  )
  SELECT decided.hour,
    CASE WHEN decided.is_kept THEN decided.stored END,
    CASE WHEN decided.is_kept THEN decided.towards END,
    CASE WHEN decided.is_kept THEN decided.away END,
    decided.reported,
    CASE WHEN decided.is_kept THEN decided.lowest END,
    CASE WHEN decided.is_kept THEN decided.highest END,
    CASE WHEN decided.is_kept AND (decided.lowest IS NOT NULL OR decided.is_numbered) THEN decided.within END,
    CASE WHEN decided.is_kept AND (decided.lowest IS NOT NULL OR decided.is_numbered) THEN decided.across END,
    CASE WHEN decided.is_kept THEN decided.restarts END,
    decided.rejected,
    CASE WHEN decided.is_kept THEN decided.missing END,
    CASE WHEN decided.is_kept THEN decided.pending END,
    CASE
      WHEN NOT decided.is_kept THEN NULL
      -- the whole is no better than its hours
      WHEN decided.hour IS NULL AND bool_or(decided.matches IS false) OVER () THEN false
      ELSE decided.matches
    END
  FROM decided
  ORDER BY decided.hour NULLS LAST
$$;

COMMENT ON FUNCTION occupancy.reconciliation(integer, timestamptz, timestamptz) IS
  'What a DPU says it sent against what is stored, by hour (UTC) of [from_time, to_time), which begins and ends at whole '
  'hours; a last row without an hour is the range as a whole. missing is null where neither a report nor the numbers '
  '(seq) tell, stored where single crossings were dropped by age. pending: so many of the missing ones may be behind the '
  'last stored event, by the heartbeat. matches is null where there is nothing to compare with, and where what is missing '
  'may still come: it is pending, or not 15 minutes old, or waits in held_crossing.';
