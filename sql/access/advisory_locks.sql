-- Writers, changes of topology, refreshes and migrations keep out of each other's way by advisory locks, which every login
-- of the database may take, read-only or not: one that holds them holds up all the others.
DO $$
DECLARE
  lock regprocedure;
BEGIN
  FOR lock IN
    SELECT pg_proc.oid
    FROM pg_catalog.pg_proc
    WHERE pg_proc.pronamespace = 'pg_catalog'::regnamespace AND pg_proc.proname ~ '^pg_(try_)?advisory_'
      AND has_function_privilege('public', pg_proc.oid, 'EXECUTE')
  LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', lock, current_user);
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', lock);
  END LOOP;
EXCEPTION
  WHEN insufficient_privilege THEN
    RAISE NOTICE 'only a superuser can keep other logins from taking advisory locks in this database';
END
$$;
