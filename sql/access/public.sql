-- PUBLIC may execute every new function. Nobody but the owner and whom he lets has business here.
REVOKE EXECUTE ON ALL ROUTINES IN SCHEMA occupancy FROM PUBLIC;
REVOKE EXECUTE ON ALL ROUTINES IN SCHEMA bi FROM PUBLIC;

-- PUBLIC may make temporary objects: room on the disk, and names that are found before others. An analyst whose tool
-- needs them can be granted TEMPORARY.
DO $$
BEGIN
  EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
EXCEPTION
  WHEN insufficient_privilege THEN
    RAISE NOTICE 'only the owner of the database can keep others from making temporary tables in it';
END
$$;
