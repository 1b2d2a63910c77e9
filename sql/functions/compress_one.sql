CREATE OR REPLACE FUNCTION occupancy.compress_one(chunk regclass) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
-- Whoever holds a lock on the chunk must not make others queue behind this step for long.
SET lock_timeout = '2s'
-- Otherwise writers and this step wait for each other while rows move to the columnstore, until one of them gives up.
SET timescaledb.enable_exclusive_locking_recompression = on
AS $$
BEGIN
  IF NOT pg_try_advisory_xact_lock(occupancy.storage_lock()) THEN
    RETURN false;
  END IF;
  PERFORM public.compress_chunk(chunk, if_not_compressed => true);
  RETURN true;
END
$$;

COMMENT ON FUNCTION occupancy.compress_one(regclass) IS
  'A step of the work on old data: compresses a chunk, or the rows that it got since it was. Reads go on meanwhile; what '
  'is to be stored in this chunk waits. False: another step is being done.';
