-- Once: TimescaleDB has no "or replace" for jobs, and an operator's own schedule must survive a migration.
SELECT public.add_job(
  'occupancy.keep_storage',
  schedule_interval => INTERVAL '1 hour',
  config => '{}',
  fixed_schedule => false
)
WHERE NOT EXISTS (
  SELECT FROM timescaledb_information.jobs
  WHERE proc_schema = 'occupancy' AND proc_name = 'keep_storage'
);
