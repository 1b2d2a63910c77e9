CREATE OR REPLACE FUNCTION occupancy.seq_breaks(dpu integer, from_time timestamptz, to_time timestamptz)
RETURNS TABLE (
  kind text, after_seq bigint, before_seq bigint, missing bigint, after_time timestamptz, before_time timestamptz
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  WITH followed AS (
    SELECT number.at, number.seq, number.place, lag(number.seq) OVER by_time AS last_seq,
      lag(number.at) OVER by_time AS last_at
    FROM occupancy.seq_numbers(seq_breaks.dpu, from_time, to_time) AS number
    WINDOW by_time AS (ORDER BY number.at, number.seq)
  ), judged AS (
    SELECT followed.*,
      -- A little lower than the one before: the device's clock was set back. Much lower, or from the start: it restarted.
      followed.seq <= followed.last_seq AND (followed.seq = 1 OR followed.last_seq - followed.seq >= 100) AS restarts
    FROM followed
  ), numbered AS (
    SELECT judged.*, count(*) FILTER (WHERE judged.restarts) OVER (ORDER BY judged.at, judged.seq) AS run
    FROM judged
  ), ranked AS (
    SELECT numbered.*, min(numbered.seq) OVER one_run AS lowest,
      max(numbered.seq) FILTER (WHERE numbered.place <> 'heartbeat') OVER one_run AS highest
    FROM numbered
    WINDOW one_run AS (PARTITION BY numbered.run)
  ), stepped AS (
    SELECT ranked.*, lag(ranked.seq) OVER by_seq AS after_seq, lag(ranked.at) OVER by_seq AS after_time
    FROM ranked
    -- a heartbeat says something behind the last event only
    WHERE ranked.place <> 'heartbeat' OR ranked.highest IS NULL OR ranked.seq > ranked.highest
    WINDOW by_seq AS (PARTITION BY ranked.run ORDER BY ranked.seq, ranked.at)
  )
  SELECT CASE stepped.place WHEN 'heartbeat' THEN 'pending' ELSE 'gap' END,
    stepped.after_seq, stepped.seq, stepped.seq - stepped.after_seq - 1, stepped.after_time, stepped.at
  FROM stepped
  WHERE stepped.seq - stepped.after_seq > 1
  UNION ALL
  SELECT CASE ranked.place WHEN 'heartbeat' THEN 'pending' ELSE 'restart' END,
    ranked.last_seq, ranked.lowest, ranked.lowest - 1, ranked.last_at, ranked.at
  FROM ranked
  WHERE ranked.restarts
$$;

COMMENT ON FUNCTION occupancy.seq_breaks(integer, timestamptz, timestamptz) IS
  'Where the numbers (seq) of a DPU do not follow on one another, in time, from the last event before from_time to the '
  'first one after to_time. gap: numbers between two events are missing. restart: the device began anew; missing are the '
  'numbers below its first one, and nobody knows how many got lost before. pending: so many events that the latest '
  'heartbeat speaks of are not here (yet).';
