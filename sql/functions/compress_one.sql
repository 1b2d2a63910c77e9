CREATE OR REPLACE FUNCTION occupancy.compress_one(chunk regclass) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
-- Whoever holds a lock on the chunk must not make others queue behind this step for long.
SET lock_timeout = '2s'
-- Otherwise writers and this step wait for each other while rows move to the columnstore, until one of them gives up.
SET timescaledb.enable_exclusive_locking_recompression = on
-- The other ways to empty the chunk lose its rows for statements that began before and are planned afterwards.
SET timescaledb.compress_truncate_behaviour = 'truncate_only'
AS $$
DECLARE
  status integer;
  readers text[];
BEGIN
  IF NOT pg_try_advisory_xact_lock(occupancy.storage_lock()) THEN
    RAISE EXCEPTION 'another step of the work on old data is being done' USING ERRCODE = 'lock_not_available';
  END IF;
  status := _timescaledb_functions.chunk_status(chunk);
  IF status & 1 = 0 THEN
    -- At its end TimescaleDB needs the chunk for an instant alone. Somebody who has been reading it for long would make
    -- all the work in vain: that shows now. To ask for the lock would have all who read the chunk queue, and asked
    -- for without waiting it might never be free where many read by turns.
    readers := ARRAY(SELECT occupancy.readers(chunk));
    FOR turn IN 1 .. 20 LOOP
      EXIT WHEN NOT readers && ARRAY(SELECT occupancy.readers(chunk));
      IF turn = 20 THEN
        RAISE EXCEPTION 'somebody has been reading % for 2 seconds', chunk USING ERRCODE = 'lock_not_available';
      END IF;
      PERFORM pg_sleep(0.1);
    END LOOP;
  END IF;
  EXECUTE format('LOCK TABLE ONLY %s IN EXCLUSIVE MODE', chunk);
  -- For the lock at the end, when there is something to lose. No writer queues behind it (see enter_chunks), only those
  -- who read this chunk. Of aggregates that is every count: they are small, and no longer time is lost with them.
  IF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = chunk AND inhparent = 'occupancy.crossing'::regclass) THEN
    PERFORM set_config('lock_timeout', '10s', true);
  END IF;
  PERFORM public.compress_chunk(chunk, if_not_compressed => true);
  IF status & 8 <> 0 AND _timescaledb_functions.chunk_status(chunk) & 8 = 0 THEN
    PERFORM occupancy.keep_partial(chunk);
  END IF;
  RETURN true;
END
$$;

COMMENT ON FUNCTION occupancy.compress_one(regclass) IS
  'A step of the work on old data: compresses a chunk, or the rows that it got since it was. Reads go on meanwhile; nothing '
  'can be stored in this chunk (see enter_chunks). Raises lock_not_available where others are at it.';
