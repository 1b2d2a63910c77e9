CREATE TABLE occupancy.horizon (
  one_row      boolean NOT NULL DEFAULT true,
  write_before timestamptz NOT NULL DEFAULT '-infinity',
  read_before  timestamptz NOT NULL DEFAULT '-infinity',
  CONSTRAINT horizon_pkey PRIMARY KEY (one_row),
  CONSTRAINT horizon_has_one_row CHECK (one_row),
  CONSTRAINT readers_stay_behind_writers CHECK (read_before <= write_before)
);

INSERT INTO occupancy.horizon DEFAULT VALUES;

COMMENT ON TABLE occupancy.horizon IS 'One row: up to where the aggregates are trusted.';
COMMENT ON COLUMN occupancy.horizon.write_before IS 'Writers treat a crossing before this instant as late.';
COMMENT ON COLUMN occupancy.horizon.read_before IS 'Readers trust buckets that end at or before this instant.';
