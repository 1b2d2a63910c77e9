CREATE OR REPLACE FUNCTION occupancy.claim_stale(holder uuid) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  claimed bigint;
BEGIN
  PERFORM occupancy.hold_refresh(holder);
  UPDATE occupancy.stale SET claimed = true WHERE NOT stale.claimed;
  SELECT count(*) INTO claimed FROM occupancy.stale WHERE stale.claimed;
  RETURN claimed;
END
$$;

COMMENT ON FUNCTION occupancy.claim_stale(uuid) IS
  'First step of a refresh: notes which marks were there before the barrier. Returns how many there are to repair.';
