CREATE OR REPLACE FUNCTION occupancy.seq_breaks(dpu integer, from_time timestamptz, to_time timestamptz)
RETURNS TABLE (
  kind text, after_seq bigint, before_seq bigint, missing bigint, after_time timestamptz, before_time timestamptz
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  WITH followed AS (
    SELECT number.at, number.seq, number.place, lag(number.seq) OVER by_time AS last_seq,
      lag(number.at) OVER by_time AS last_at, lead(number.at) OVER by_time AS next_at
    FROM occupancy.seq_numbers(seq_breaks.dpu, from_time, to_time) AS number
    -- the heartbeat is the last of all
    WINDOW by_time AS (ORDER BY number.at, number.place = 'heartbeat', number.seq)
  ), judged AS (
    SELECT followed.*,
      -- A little lower than the one before: the device's clock was set back. Much lower, or from the start: it restarted.
      followed.seq <= followed.last_seq AND (followed.seq = 1 OR followed.last_seq - followed.seq >= 100) AS restarts
    FROM followed
  ), numbered AS (
    SELECT judged.*, count(*) FILTER (WHERE judged.restarts) OVER (
        ORDER BY judged.at, judged.place = 'heartbeat', judged.seq) AS run
    FROM judged
  ), ranked AS (
    SELECT numbered.*, min(numbered.seq) OVER (PARTITION BY numbered.run) AS lowest,
      max(numbered.seq) OVER (
        PARTITION BY numbered.run ORDER BY numbered.at, numbered.place = 'heartbeat', numbered.seq
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      ) AS reached
    FROM numbered
  ), stepped AS (
    SELECT ranked.*, lag(ranked.seq) OVER by_seq AS after_seq, lag(ranked.at) OVER by_seq AS after_time
    FROM ranked
    -- a heartbeat says something behind the last number only
    WHERE ranked.place <> 'heartbeat' OR ranked.reached IS NULL OR ranked.seq > ranked.reached
    WINDOW by_seq AS (PARTITION BY ranked.run ORDER BY ranked.seq, ranked.at)
  )
  SELECT CASE stepped.place WHEN 'heartbeat' THEN 'pending' ELSE 'gap' END,
    stepped.after_seq, stepped.seq, stepped.seq - stepped.after_seq - 1, stepped.after_time, stepped.at
  FROM stepped
  WHERE stepped.seq - stepped.after_seq > CASE stepped.place WHEN 'heartbeat' THEN 0 ELSE 1 END
  UNION ALL
  SELECT CASE ranked.place WHEN 'heartbeat' THEN 'pending' ELSE 'restart' END,
    ranked.last_seq, ranked.lowest, ranked.lowest - 1, ranked.last_at, ranked.at
  FROM ranked
  WHERE ranked.restarts
  UNION ALL
  -- In doubt from the event that it follows by number: a second restart may be what fills a gap there.
  SELECT 'disorder', stepped.last_seq, stepped.seq, 0, least(stepped.last_at, stepped.after_time),
    coalesce(stepped.next_at, stepped.at)
  FROM stepped
  WHERE stepped.seq <= stepped.reached
  UNION ALL
  SELECT 'disorder', ranked.last_seq, ranked.seq, 0, ranked.last_at, ranked.at
  FROM ranked
  WHERE ranked.place = 'heartbeat' AND ranked.seq <= ranked.reached
$$;

COMMENT ON FUNCTION occupancy.seq_breaks(integer, timestamptz, timestamptz) IS
  'Where the numbers (seq) of a DPU do not follow on one another, in time, from the last event before from_time to the '
  'first one after to_time. gap: numbers between two events are missing. restart: the device began anew; missing are the '
  'numbers below its first one, and nobody knows how many got lost before. disorder: a number that is not above all before '
  'it, but no restart; from after_time to before_time nobody knows what is missing. pending: so many events behind the '
  'last one, 0 or more, has the device sent by its heartbeat.';
