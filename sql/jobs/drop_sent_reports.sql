-- Once: as for refresh_aggregates, an operator's own schedule and age must survive a migration.
SELECT public.add_job(
  'occupancy.drop_sent_reports',
  schedule_interval => INTERVAL '1 day',
  config => '{}',
  fixed_schedule => false
)
WHERE NOT EXISTS (
  SELECT FROM timescaledb_information.jobs
  WHERE proc_schema = 'occupancy' AND proc_name = 'drop_sent_reports'
);
