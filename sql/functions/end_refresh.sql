CREATE OR REPLACE FUNCTION occupancy.end_refresh(holder uuid, complete boolean) RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE occupancy.refresher
  SET holder = NULL,
      held_until = '-infinity',
      refreshed_at = CASE WHEN complete THEN clock_timestamp() ELSE refreshed_at END
  WHERE refresher.holder = end_refresh.holder
$$;

COMMENT ON FUNCTION occupancy.end_refresh(uuid, boolean) IS 'Gives the lease back; complete: every step was done.';
