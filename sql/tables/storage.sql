CREATE TABLE occupancy.storage (
  one_row                   boolean NOT NULL DEFAULT true,
  compress_crossings_after  interval DEFAULT '7 days',
  compress_aggregates_after interval DEFAULT '30 days',
  keep_crossings            interval,
  keep_rejected             interval,
  worked_at                 timestamptz NOT NULL DEFAULT '-infinity',
  CONSTRAINT storage_pkey PRIMARY KEY (one_row),
  CONSTRAINT storage_has_one_row CHECK (one_row),
  CONSTRAINT compress_crossings_after_is_not_negative CHECK (compress_crossings_after >= INTERVAL '0'),
  CONSTRAINT compress_aggregates_after_is_not_negative CHECK (compress_aggregates_after >= INTERVAL '0'),
  -- a daily reset is at most a day ago, and its quarter of an hour is read from crossings
  CONSTRAINT crossings_are_kept_for_two_days_at_least CHECK (keep_crossings >= INTERVAL '2 days'),
  CONSTRAINT keep_rejected_is_not_negative CHECK (keep_rejected >= INTERVAL '0')
);

INSERT INTO occupancy.storage DEFAULT VALUES;

COMMENT ON TABLE occupancy.storage IS
  'One row: what becomes of old data. Here and not in a process''s environment, because deleting is the business of the '
  'data, whoever does it.';
COMMENT ON COLUMN occupancy.storage.compress_crossings_after IS
  'Age of the end of a chunk of crossings at which it is compressed; null: never.';
COMMENT ON COLUMN occupancy.storage.compress_aggregates_after IS
  'Age of the end of a chunk of flow_15m at which it is compressed; null: never.';
COMMENT ON COLUMN occupancy.storage.keep_crossings IS
  'Age of the end of a chunk of crossings at which it is dropped; null: never. Aggregates are kept.';
COMMENT ON COLUMN occupancy.storage.keep_rejected IS 'Age at which a rejected event is deleted; null: never.';
COMMENT ON COLUMN occupancy.storage.worked_at IS 'When the work on old data last began.';
