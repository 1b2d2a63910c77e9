CREATE OR REPLACE VIEW bi.occupancy_1h WITH (security_barrier) AS
SELECT
  space.space_id,
  grid.bucket_start,
  grid.bucket_end,
  grid.bucket_start AT TIME ZONE space.time_zone AS local_start,
  bucket.seconds,
  bucket.first,
  bucket.last,
  bucket.min,
  bucket.max,
  bucket.mean,
  bucket.net_min,
  bucket.entries,
  bucket.exits,
  bucket.utilization,
  bucket.peak_utilization
FROM occupancy.space
-- What is asked of space_id and bucket_start cuts these two, before the costly one is called for what is left.
JOIN occupancy.grid(INTERVAL '1 hour') AS grid ON grid.time_zone = space.time_zone
CROSS JOIN LATERAL occupancy.bucket_of(space.id, grid.bucket_start, grid.bucket_end) AS bucket
WHERE space.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
  AND space.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible);

COMMENT ON VIEW bi.occupancy_1h IS
  'How the count of each space ran, by hour of its own local time, from the first stored data to now. Every row is '
  'computed when it is asked for: say which space_id and which bucket_start. For long ranges: bi.series.';
COMMENT ON COLUMN bi.occupancy_1h.space_id IS 'The space; see bi.spaces.';
COMMENT ON COLUMN bi.occupancy_1h.bucket_start IS 'First instant of the hour.';
COMMENT ON COLUMN bi.occupancy_1h.bucket_end IS 'First instant after it.';
COMMENT ON COLUMN bi.occupancy_1h.local_start IS 'What clocks in the time zone of the space show at bucket_start.';
COMMENT ON COLUMN bi.occupancy_1h.seconds IS 'How long it lasted; until now, if it has not ended.';
COMMENT ON COLUMN bi.occupancy_1h.first IS 'The count at bucket_start.';
COMMENT ON COLUMN bi.occupancy_1h.last IS 'The count just before bucket_end, or now.';
COMMENT ON COLUMN bi.occupancy_1h.min IS 'The lowest count at any instant of it.';
COMMENT ON COLUMN bi.occupancy_1h.max IS 'The highest count at any instant of it.';
COMMENT ON COLUMN bi.occupancy_1h.mean IS 'The mean count over time.';
COMMENT ON COLUMN bi.occupancy_1h.net_min IS 'The lowest net; below 0 where sensors have missed people.';
COMMENT ON COLUMN bi.occupancy_1h.entries IS 'How many walked in.';
COMMENT ON COLUMN bi.occupancy_1h.exits IS 'How many walked out.';
COMMENT ON COLUMN bi.occupancy_1h.utilization IS 'mean over the capacity; null without one.';
COMMENT ON COLUMN bi.occupancy_1h.peak_utilization IS 'max over the capacity; null without one.';
