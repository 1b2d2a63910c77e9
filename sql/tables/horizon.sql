CREATE TABLE occupancy.horizon (
  one_row        boolean NOT NULL DEFAULT true,
  write_before   timestamptz NOT NULL DEFAULT '-infinity',
  read_before    timestamptz NOT NULL DEFAULT '-infinity',
  dropped_before timestamptz NOT NULL DEFAULT '-infinity',
  CONSTRAINT horizon_pkey PRIMARY KEY (one_row),
  CONSTRAINT horizon_has_one_row CHECK (one_row),
  CONSTRAINT readers_stay_behind_writers CHECK (read_before <= write_before),
  CONSTRAINT only_what_is_aggregated_is_dropped CHECK (dropped_before <= read_before)
);

INSERT INTO occupancy.horizon DEFAULT VALUES;

COMMENT ON TABLE occupancy.horizon IS 'One row: up to where the aggregates are trusted.';
COMMENT ON COLUMN occupancy.horizon.write_before IS 'Writers treat a crossing before this instant as late.';
COMMENT ON COLUMN occupancy.horizon.read_before IS 'Readers trust buckets that end at or before this instant.';
COMMENT ON COLUMN occupancy.horizon.dropped_before IS
  'Single crossings before this instant are dropped, or about to be: nobody reads, stores or repairs there any more. The '
  'start of a quarter of an hour (UTC). No stale mark begins before it.';
