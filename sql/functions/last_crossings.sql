CREATE OR REPLACE FUNCTION occupancy.last_crossings(dpus integer[], before_time timestamptz)
RETURNS TABLE (dpu integer, at timestamptz, seq bigint, direction smallint, received_at timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  -- as in crossings_page: a plan has few chunks
  widest CONSTANT interval := '672 hours';
  width interval := '1 hour';
  first_time CONSTANT timestamptz := occupancy.first_chunk();
  left_over integer[] := dpus;
  found integer[];
  found_one record;
  step_from timestamptz;
  step_to timestamptz := before_time;
BEGIN
  WHILE step_to > first_time AND cardinality(left_over) > 0 LOOP
    step_from := greatest(step_to - width, first_time);
    found := '{}';
    -- EXECUTE plans at each call: only a plan made for these instants leaves out the other chunks.
    FOR found_one IN EXECUTE $statement$
      SELECT wanted.dpu, latest.*
      FROM unnest($1) AS wanted (dpu)
      CROSS JOIN LATERAL (
        SELECT crossing.time, crossing.seq, crossing.direction,
          crossing.time + crossing.delay * INTERVAL '1 second' AS received_at
        FROM occupancy.crossing
        WHERE crossing.dpu = wanted.dpu AND crossing.time >= $2 AND crossing.time < $3
        ORDER BY crossing.time DESC, crossing.seq DESC
        LIMIT 1
      ) AS latest
      $statement$ USING left_over, step_from, step_to
    LOOP
      found := found || found_one.dpu;
      RETURN QUERY SELECT found_one.dpu, found_one.time, found_one.seq, found_one.direction, found_one.received_at;
    END LOOP;
    left_over := ARRAY(SELECT unnest(left_over) EXCEPT SELECT unnest(found));
    step_to := step_from;
    width := least(width * 4, widest);
  END LOOP;
END
$$;

COMMENT ON FUNCTION occupancy.last_crossings(integer[], timestamptz) IS
  'The last crossing of each DPU before an instant, which is finite; none for a DPU that has none. Looks back in ever '
  'wider steps of time, only for those that are not found yet.';
