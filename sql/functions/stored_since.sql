CREATE OR REPLACE FUNCTION occupancy.stored_since() RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN EXISTS (
      SELECT FROM timescaledb_information.jobs
      WHERE jobs.hypertable_schema = 'occupancy' AND jobs.hypertable_name = 'crossing'
        AND jobs.proc_name = 'policy_retention'
    ) THEN occupancy.first_chunk()
    ELSE '-infinity'
  END
$$;

COMMENT ON FUNCTION occupancy.stored_since() IS
  'Single crossings before this instant may have been dropped by age; -infinity where none are.';
