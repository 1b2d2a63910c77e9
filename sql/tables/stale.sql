CREATE TABLE occupancy.stale (
  id      bigint GENERATED ALWAYS AS IDENTITY,
  space   integer NOT NULL,
  since   timestamptz NOT NULL,
  until   timestamptz NOT NULL,
  claimed boolean NOT NULL DEFAULT false,
  CONSTRAINT stale_pkey PRIMARY KEY (id),
  CONSTRAINT stale_range_is_not_empty CHECK (since < until)
  -- No reference to space: marks outlive a deleted space, so that its aggregates are removed.
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- every count asks for the earliest mark of its space
CREATE INDEX stale_by_space ON occupancy.stale (space, since) INCLUDE (until);

-- a repair takes the oldest claimed marks first
CREATE INDEX stale_by_age ON occupancy.stale (since, id) WHERE claimed;

COMMENT ON TABLE occupancy.stale IS
  'Ranges [since, until) of a space whose aggregates no longer follow from the crossings. Writers only append.';
COMMENT ON COLUMN occupancy.stale.claimed IS
  'Seen by the refresher before its latest barrier; only such marks may be repaired.';
