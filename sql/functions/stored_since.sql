CREATE OR REPLACE FUNCTION occupancy.stored_since() RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT horizon.dropped_before FROM occupancy.horizon
$$;

COMMENT ON FUNCTION occupancy.stored_since() IS
  'Single crossings before this instant may have been dropped by age; -infinity where none are.';
