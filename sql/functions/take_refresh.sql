CREATE OR REPLACE FUNCTION occupancy.take_refresh(holder uuid, due_after interval) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE occupancy.refresher
  SET holder = take_refresh.holder, held_until = clock_timestamp() + occupancy.refresh_lease()
  WHERE refresher.one_row = (
    -- locked: its holder is in the middle of a step
    SELECT free.one_row
    FROM occupancy.refresher AS free
    -- What lies in the future was written before the clock was set back, and says nothing.
    WHERE (
        free.holder IS NULL
        OR free.held_until NOT BETWEEN clock_timestamp() AND clock_timestamp() + occupancy.refresh_lease()
      )
      -- not at the first bound: a refresh that ended at this very instant is due again at once if due_after is 0
      AND NOT (free.refreshed_at > clock_timestamp() - due_after AND free.refreshed_at <= clock_timestamp())
    FOR UPDATE SKIP LOCKED
  );
  RETURN FOUND;
END
$$;

COMMENT ON FUNCTION occupancy.take_refresh(uuid, interval) IS
  'Takes the lease of the refresher. False where another holds it, or one has ended less than due_after ago.';
