CREATE OR REPLACE FUNCTION occupancy.refresh_lease() RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN INTERVAL '1 minute';

COMMENT ON FUNCTION occupancy.refresh_lease() IS
  'How long a refresher may be silent between two steps before another takes over.';
