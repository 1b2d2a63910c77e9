CREATE OR REPLACE FUNCTION occupancy.writing_lock() RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 7301000001;

COMMENT ON FUNCTION occupancy.writing_lock() IS
  'Key of the advisory lock that writers of crossings share and the refresher takes alone to move the horizon.';
