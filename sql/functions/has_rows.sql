CREATE OR REPLACE FUNCTION occupancy.has_rows(chunk regclass) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_one boolean;
BEGIN
  EXECUTE format('SELECT EXISTS (SELECT FROM ONLY %s)', chunk) INTO found_one;
  RETURN found_one;
EXCEPTION WHEN undefined_table THEN
  RETURN false;
END
$$;

COMMENT ON FUNCTION occupancy.has_rows(regclass) IS
  'Whether anything of a chunk is stored as rows; what is in columns does not count.';
