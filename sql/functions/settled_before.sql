CREATE OR REPLACE FUNCTION occupancy.settled_before() RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT least(horizon.write_before, now() - least(storage.compress_crossings_after, INTERVAL '24 hours'))
  FROM occupancy.horizon CROSS JOIN occupancy.storage
$$;

COMMENT ON FUNCTION occupancy.settled_before() IS
  'No chunk is expected to be compressed that holds later instants than this: by the policy none is, by hand nothing keeps '
  'anybody from it.';
