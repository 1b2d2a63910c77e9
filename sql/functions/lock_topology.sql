CREATE OR REPLACE FUNCTION occupancy.lock_topology() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Two changes at a time would each derive effects without seeing the other's.
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'topology is changed at isolation level read committed, not %',
      current_setting('transaction_isolation') USING ERRCODE = 'invalid_transaction_state';
  END IF;
  PERFORM pg_advisory_xact_lock(7301000002);
END
$$;

COMMENT ON FUNCTION occupancy.lock_topology() IS
  'Held to the end of every transaction that changes spaces, doorways or placements: one such change at a time.';
