CREATE OR REPLACE FUNCTION occupancy.keep_sent_reports(
  organization integer, dpu_ids text[], events integer[], from_times timestamptz[], to_times timestamptz[],
  stated_ats timestamptz[]
) RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO occupancy.sent_report AS stored (dpu, events, from_time, to_time, stated_at)
  SELECT DISTINCT ON (dpu.id, given.from_time, given.to_time)
    dpu.id, given.events, given.from_time, given.to_time, given.stated_at
  FROM unnest(dpu_ids, keep_sent_reports.events, from_times, to_times, stated_ats) WITH ORDINALITY
    AS given (dpu_id, events, from_time, to_time, stated_at, index)
  JOIN occupancy.dpu ON dpu.organization = keep_sent_reports.organization AND dpu.dpu_id = given.dpu_id
  -- in one order for all writers
  ORDER BY dpu.id, given.from_time, given.to_time, given.stated_at DESC, given.index DESC
  ON CONFLICT (dpu, from_time, to_time) DO UPDATE SET events = excluded.events, stated_at = excluded.stated_at
  -- a statement that is sent again writes nothing
  WHERE excluded.stated_at > stored.stated_at
$$;

COMMENT ON FUNCTION occupancy.keep_sent_reports(
  integer, text[], integer[], timestamptz[], timestamptz[], timestamptz[]) IS
  'Keeps what DPUs say they sent in [from_times[i], to_times[i]): the latest statement about a range. DPUs that are not '
  'registered are passed over.';
