CREATE OR REPLACE FUNCTION occupancy.crossings_page(
  dpus integer[], from_times timestamptz[], to_times timestamptz[],
  after_time timestamptz, after_dpu integer, after_seq bigint, most integer, newest_first boolean
) RETURNS TABLE (at timestamptz, dpu integer, seq bigint, direction smallint, received_at timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  instant CONSTANT interval := '1 microsecond';
  -- as wide as four chunks: a plan has few of them, and a year in which nobody came takes few steps
  widest CONSTANT interval := '672 hours';
  -- one event a minute and DPU is what is planned for; fewer events make for more steps, not for more reading
  width interval := greatest(INTERVAL '1 second', most * INTERVAL '1 minute' / greatest(cardinality(dpus), 1));
  from_time timestamptz := (SELECT min(t) FROM unnest(from_times) AS t);
  to_time timestamptz := (SELECT max(t) FROM unnest(to_times) AS t);
  step_from timestamptz;
  step_to timestamptz;
  found integer;
  left_over integer := most;
  statement CONSTANT text := format($statement$
    SELECT passed.*
    FROM unnest($1, $2, $3) AS range (dpu, from_time, to_time)
    CROSS JOIN LATERAL (
      SELECT crossing.time, crossing.dpu, crossing.seq, crossing.direction,
        crossing.time + crossing.delay * INTERVAL '1 second' AS received_at
      FROM occupancy.crossing
      WHERE crossing.dpu = range.dpu AND crossing.time >= range.from_time AND crossing.time < range.to_time
        -- what the planner can see, to leave out chunks
        AND crossing.time >= $4 AND crossing.time < $5
        AND ($6 IS NULL OR (crossing.time, crossing.dpu, crossing.seq) %1$s ($6, $7, $8))
      ORDER BY crossing.time %2$s, crossing.seq %2$s
      LIMIT $9
    ) AS passed
    ORDER BY passed.time %2$s, passed.dpu %2$s, passed.seq %2$s
    LIMIT $9
    $statement$, CASE WHEN newest_first THEN '<' ELSE '>' END, CASE WHEN newest_first THEN 'DESC' ELSE 'ASC' END);
BEGIN
  -- looking at the chunks costs as much as a few steps
  IF from_time < to_time - widest THEN
    from_time := greatest(from_time, occupancy.first_chunk());
  END IF;
  IF after_time IS NOT NULL AND newest_first THEN
    to_time := least(to_time, after_time + instant);
  ELSIF after_time IS NOT NULL THEN
    from_time := greatest(from_time, after_time);
  END IF;

  WHILE from_time < to_time AND left_over > 0 LOOP
    IF newest_first THEN
      step_from := greatest(from_time, to_time - width);
      step_to := to_time;
      to_time := step_from;
    ELSE
      step_from := from_time;
      step_to := least(to_time, from_time + width);
      from_time := step_to;
    END IF;
    -- EXECUTE plans at each call: only a plan made for these instants leaves out the other chunks.
    RETURN QUERY EXECUTE statement
      USING dpus, from_times, to_times, step_from, step_to, after_time, after_dpu, after_seq, left_over;
    GET DIAGNOSTICS found = ROW_COUNT;
    left_over := left_over - found;
    width := least(width * 4, widest);
  END LOOP;
END
$$;

COMMENT ON FUNCTION occupancy.crossings_page(
  integer[], timestamptz[], timestamptz[], timestamptz, integer, bigint, integer, boolean) IS
  'The first `most` crossings of dpus[i] in [from_times[i], to_times[i]), by time, DPU and seq, or the last ones from the '
  'newest on; only those behind (after_time, after_dpu, after_seq), unless that is null. Looks at ever wider steps of '
  'time until there are enough, so that no more is read and sorted than a few pages. Instants are finite.';
