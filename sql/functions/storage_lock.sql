CREATE OR REPLACE FUNCTION occupancy.storage_lock() RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 7301000004;

COMMENT ON FUNCTION occupancy.storage_lock() IS
  'Key of the advisory lock that a step of the work on old data holds: one step at a time.';
