CREATE OR REPLACE PROCEDURE occupancy.drop_sent_reports(job_id integer DEFAULT NULL, config jsonb DEFAULT NULL)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM public.drop_chunks('occupancy.sent_report', older_than => now() - coalesce(config ->> 'age', '92 days')::interval);
END
$$;

COMMENT ON PROCEDURE occupancy.drop_sent_reports(integer, jsonb) IS
  'Drops what DPUs said long ago about what they sent: chunks that ended before `age` (config; 92 days). Called by a '
  'TimescaleDB job, or by hand.';
