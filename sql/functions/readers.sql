CREATE OR REPLACE FUNCTION occupancy.readers(relation regclass) RETURNS SETOF text
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT pg_locks.virtualtransaction
  FROM pg_locks
  WHERE pg_locks.relation = readers.relation AND pg_locks.granted AND pg_locks.mode = 'AccessShareLock'
    AND pg_locks.database = (SELECT pg_database.oid FROM pg_database WHERE pg_database.datname = current_database())
    AND pg_locks.pid IS DISTINCT FROM pg_backend_pid()
$$;

COMMENT ON FUNCTION occupancy.readers(regclass) IS
  'The other transactions that read a table or chunk now, or did and have not ended.';
