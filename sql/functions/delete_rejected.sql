CREATE OR REPLACE FUNCTION occupancy.delete_rejected() RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  deleted bigint;
BEGIN
  DELETE FROM occupancy.rejected_event
  USING occupancy.storage
  -- by age, as far as it tells the order: without an index on received_at
  WHERE rejected_event.id IN (SELECT oldest.id FROM occupancy.rejected_event AS oldest ORDER BY oldest.id LIMIT 10000)
    AND rejected_event.received_at < now() - storage.keep_rejected;
  GET DIAGNOSTICS deleted = ROW_COUNT;
  RETURN deleted;
END
$$;

COMMENT ON FUNCTION occupancy.delete_rejected() IS
  'A step of the work on old data: deletes at most 10,000 rejected events that are older than keep_rejected. Returns how '
  'many; 0: none is left.';
