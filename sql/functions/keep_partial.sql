CREATE OR REPLACE FUNCTION occupancy.keep_partial(chunk regclass) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stored record;
BEGIN
  SELECT stored_chunks.holds, stored_chunks.chunk_start INTO stored
  FROM occupancy.stored_chunks() WHERE stored_chunks.chunk = keep_partial.chunk;
  -- A row of nobody, stored and deleted: that is what sets the flag.
  IF stored.holds = 'crossing' THEN
    INSERT INTO occupancy.crossing (time, dpu, direction) VALUES (stored.chunk_start, -1, 1);
    EXECUTE format('DELETE FROM ONLY %s WHERE dpu = -1', chunk);
  ELSE
    EXECUTE format('INSERT INTO %s (space, bucket) VALUES (-1, $1)', occupancy.flow_table('15m')) USING stored.chunk_start;
    EXECUTE format('DELETE FROM ONLY %s WHERE space = -1', chunk);
  END IF;
END
$$;

COMMENT ON FUNCTION occupancy.keep_partial(regclass) IS
  'Has TimescaleDB look for rows in a compressed chunk also after they went into columns. Without that, a statement whose '
  'snapshot is older than that step, and which is planned after it, would find them neither as rows nor in columns.';
