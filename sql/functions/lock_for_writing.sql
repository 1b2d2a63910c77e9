CREATE OR REPLACE FUNCTION occupancy.lock_for_writing() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- What follows the lock must see what was committed while waiting for it: one snapshot a statement.
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'crossings are written at isolation level read committed, not %',
      current_setting('transaction_isolation') USING ERRCODE = 'invalid_transaction_state';
  END IF;
  PERFORM pg_advisory_xact_lock_shared(occupancy.writing_lock());
END
$$;

COMMENT ON FUNCTION occupancy.lock_for_writing() IS
  'Taken, shared, by every transaction before it reads write_before and inserts crossings.';
