CREATE OR REPLACE FUNCTION occupancy.enter_chunks(times timestamptz[]) RETURNS tstzmultirange
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  held tstzmultirange := '{}';
  kept_since timestamptz;
  settled_before timestamptz;
  old_times tstzmultirange;
  stored record;
BEGIN
  SELECT horizon.dropped_before INTO kept_since FROM occupancy.horizon;
  settled_before := occupancy.settled_before();
  SELECT range_agg(tstzrange(t, t, '[]')) INTO old_times
  FROM unnest(times) AS t
  WHERE t < settled_before AND t >= kept_since;
  IF old_times IS NULL THEN
    RETURN held;
  END IF;
  FOR stored IN
    SELECT chunks.chunk_schema, chunks.chunk_name, tstzrange(chunks.range_start, chunks.range_end) AS span
    FROM timescaledb_information.chunks
    WHERE chunks.hypertable_schema = 'occupancy' AND chunks.hypertable_name = 'crossing'
      AND old_times && tstzrange(chunks.range_start, chunks.range_end)
  LOOP
    BEGIN
      -- Never wait: whoever calls this holds the lock of writers, behind which the refresher's barrier would queue, and
      -- all other writers behind that.
      EXECUTE format('LOCK TABLE ONLY %I.%I IN ROW EXCLUSIVE MODE NOWAIT', stored.chunk_schema, stored.chunk_name);
    EXCEPTION
      WHEN lock_not_available THEN
        held := held + tstzmultirange(stored.span);
      WHEN undefined_table THEN
        NULL;  -- dropped since it was looked up
    END;
  END LOOP;
  RETURN held;
END
$$;

COMMENT ON FUNCTION occupancy.enter_chunks(timestamptz[]) IS
  'Takes the lock that storing at these instants needs on each chunk that is old enough to be compressed, and waits for '
  'none. Returns the ranges of chunks that somebody else holds: nothing can be stored there now.';
