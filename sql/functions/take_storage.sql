CREATE OR REPLACE FUNCTION occupancy.take_storage(due_after interval) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE occupancy.storage
  SET worked_at = clock_timestamp()
  -- What lies in the future was written before the clock was set back, and says nothing.
  WHERE NOT (storage.worked_at > clock_timestamp() - due_after AND storage.worked_at <= clock_timestamp());
  RETURN FOUND;
END
$$;

COMMENT ON FUNCTION occupancy.take_storage(interval) IS
  'Begins the work on old data. False where it was begun less than due_after ago.';
