CREATE OR REPLACE FUNCTION occupancy.on_topology_change() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM occupancy.lock_topology();
  RETURN NULL;
END
$$;

COMMENT ON FUNCTION occupancy.on_topology_change() IS 'Before the first row of a change: wait for other changes to end.';
