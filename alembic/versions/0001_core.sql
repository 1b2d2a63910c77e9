CREATE SCHEMA IF NOT EXISTS occupancy;

COMMENT ON SCHEMA occupancy IS
  'Occupancy: spaces, doorways, DPUs, their crossings, and the counts that follow from them.';
CREATE TABLE occupancy.organization (
  id              integer GENERATED ALWAYS AS IDENTITY,
  organization_id text NOT NULL,
  name            text NOT NULL,
  CONSTRAINT organization_pkey PRIMARY KEY (id),
  CONSTRAINT organization_id_is_taken UNIQUE (organization_id)
);

INSERT INTO occupancy.organization (organization_id, name) VALUES ('default', 'Default organization');

COMMENT ON TABLE occupancy.organization IS
  'Who owns spaces, doorways and DPUs. Ids given by callers are unique within one organization.';
CREATE TABLE occupancy.space (
  id           integer GENERATED ALWAYS AS IDENTITY,
  organization integer NOT NULL,
  space_id     text NOT NULL,
  parent       integer,
  name         text NOT NULL,
  kind         text NOT NULL DEFAULT 'space',
  time_zone    text NOT NULL DEFAULT 'UTC',
  capacity     integer,
  reset_at     time without time zone,
  CONSTRAINT space_pkey PRIMARY KEY (id),
  CONSTRAINT space_id_is_taken UNIQUE (organization, space_id),
  -- the target of references that must stay inside the organization
  CONSTRAINT space_belongs_to_its_organization UNIQUE (organization, id),
  CONSTRAINT space_has_an_organization FOREIGN KEY (organization) REFERENCES occupancy.organization (id),
  CONSTRAINT space_has_a_parent_of_its_organization
    FOREIGN KEY (organization, parent) REFERENCES occupancy.space (organization, id),
  CONSTRAINT space_id_is_not_empty CHECK (space_id <> ''),
  CONSTRAINT space_is_not_its_own_parent CHECK (parent <> id),
  CONSTRAINT capacity_is_not_negative CHECK (capacity >= 0)
);

-- to find the children of a space: listing by parent, deleting, and deriving effects after a move
CREATE INDEX space_by_parent ON occupancy.space (parent) WHERE parent IS NOT NULL;

COMMENT ON TABLE occupancy.space IS 'A node of a tree of spaces: campus, building, floor, room.';
COMMENT ON COLUMN occupancy.space.time_zone IS 'IANA name; the daily reset and local days follow it.';
COMMENT ON COLUMN occupancy.space.reset_at IS
  'Local time of day at which the space is taken to be empty; null: never. A rule for all of history, not rows.';
CREATE TABLE occupancy.doorway (
  id           integer GENERATED ALWAYS AS IDENTITY,
  organization integer NOT NULL,
  doorway_id   text NOT NULL,
  name         text NOT NULL,
  side_a       integer,
  side_b       integer,
  CONSTRAINT doorway_pkey PRIMARY KEY (id),
  CONSTRAINT doorway_id_is_taken UNIQUE (organization, doorway_id),
  CONSTRAINT doorway_belongs_to_its_organization UNIQUE (organization, id),
  CONSTRAINT doorway_has_an_organization FOREIGN KEY (organization) REFERENCES occupancy.organization (id),
  CONSTRAINT side_a_is_a_space_of_the_organization
    FOREIGN KEY (organization, side_a) REFERENCES occupancy.space (organization, id),
  CONSTRAINT side_b_is_a_space_of_the_organization
    FOREIGN KEY (organization, side_b) REFERENCES occupancy.space (organization, id),
  CONSTRAINT doorway_id_is_not_empty CHECK (doorway_id <> ''),
  CONSTRAINT doorway_joins_two_different_sides CHECK (side_a IS DISTINCT FROM side_b)
);

-- to find the doorways of a space: deriving effects after a move in the tree, deleting a space
CREATE INDEX doorway_by_side_a ON occupancy.doorway (side_a);
CREATE INDEX doorway_by_side_b ON occupancy.doorway (side_b);

COMMENT ON TABLE occupancy.doorway IS 'Joins two sides, A and B; each is a space, or null: outside.';
CREATE TABLE occupancy.dpu (
  id           integer GENERATED ALWAYS AS IDENTITY,
  organization integer NOT NULL,
  dpu_id       text NOT NULL,
  name         text NOT NULL,
  CONSTRAINT dpu_pkey PRIMARY KEY (id),
  CONSTRAINT dpu_id_is_taken UNIQUE (organization, dpu_id),
  CONSTRAINT dpu_belongs_to_its_organization UNIQUE (organization, id),
  CONSTRAINT dpu_has_an_organization FOREIGN KEY (organization) REFERENCES occupancy.organization (id),
  CONSTRAINT dpu_id_is_not_empty CHECK (dpu_id <> '')
);

COMMENT ON TABLE occupancy.dpu IS 'A depth sensor; dpu_id is its serial number.';
CREATE TABLE occupancy.placement (
  id           integer GENERATED ALWAYS AS IDENTITY,
  organization integer NOT NULL,
  dpu          integer NOT NULL,
  doorway      integer NOT NULL,
  facing       text NOT NULL,
  valid_from   timestamptz NOT NULL DEFAULT '-infinity',
  valid_to     timestamptz NOT NULL DEFAULT 'infinity',
  CONSTRAINT placement_pkey PRIMARY KEY (id),
  CONSTRAINT placement_has_a_dpu_of_the_organization
    FOREIGN KEY (organization, dpu) REFERENCES occupancy.dpu (organization, id),
  CONSTRAINT placement_has_a_doorway_of_the_organization
    FOREIGN KEY (organization, doorway) REFERENCES occupancy.doorway (organization, id),
  CONSTRAINT placement_faces_side_a_or_b CHECK (facing IN ('a', 'b')),
  CONSTRAINT placement_ends_after_it_begins CHECK (valid_from < valid_to),
  -- int4range makes an integer comparable in GiST without the extension btree_gist; also finds a DPU's placements
  CONSTRAINT dpu_hangs_over_one_doorway_at_a_time EXCLUDE USING gist (
    int4range(dpu, dpu, '[]') WITH &&,
    tstzrange(valid_from, valid_to) WITH &&
  )
);

-- deriving the effects of a DPU, listing its placements
CREATE INDEX placement_by_dpu ON occupancy.placement (dpu, valid_from);
-- deriving effects after the sides of a doorway changed, deleting a doorway
CREATE INDEX placement_by_doorway ON occupancy.placement (doorway);

COMMENT ON TABLE occupancy.placement IS
  'A DPU hangs over a doorway, facing side A or B, from one instant to another. +1 walks into the side it faces.';
COMMENT ON COLUMN occupancy.placement.valid_from IS 'First instant at which it holds; -infinity: since ever.';
COMMENT ON COLUMN occupancy.placement.valid_to IS 'First instant at which it no longer holds; infinity: open.';
CREATE TABLE occupancy.reset (
  id     integer GENERATED ALWAYS AS IDENTITY,
  space  integer NOT NULL,
  at     timestamptz NOT NULL,
  count  integer NOT NULL,
  reason text NOT NULL DEFAULT '',
  CONSTRAINT reset_pkey PRIMARY KEY (id),
  CONSTRAINT reset_belongs_to_a_space FOREIGN KEY (space) REFERENCES occupancy.space (id) ON DELETE CASCADE,
  -- also finds the latest reset before an instant
  CONSTRAINT space_has_one_reset_at_an_instant UNIQUE (space, at),
  CONSTRAINT reset_count_is_not_negative CHECK (count >= 0)
);

COMMENT ON TABLE occupancy.reset IS 'An absolute statement: the count of the space was `count` at `at`.';
CREATE TABLE occupancy.effect (
  dpu        integer NOT NULL,
  space      integer NOT NULL,
  sign       smallint NOT NULL,
  valid_from timestamptz NOT NULL,
  valid_to   timestamptz NOT NULL,
  -- late marks and a change of placement look effects up by DPU
  CONSTRAINT effect_pkey PRIMARY KEY (dpu, space, valid_from),
  CONSTRAINT effect_adds_or_takes_one CHECK (sign IN (1, -1)),
  CONSTRAINT effect_ends_after_it_begins CHECK (valid_from < valid_to)
);

-- counts and repairs start from the space
CREATE INDEX effect_by_space ON occupancy.effect (space) INCLUDE (dpu, sign, valid_from, valid_to);

COMMENT ON TABLE occupancy.effect IS
  'Derived, never written by hand: what a +1 of a DPU does to the count of a space, and for how long.';
CREATE TABLE occupancy.crossing (
  time        timestamptz NOT NULL,
  dpu         integer NOT NULL,
  seq         bigint NOT NULL DEFAULT 0,
  direction   smallint NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT direction_is_one_or_minus_one CHECK (direction IN (1, -1))
);

SELECT public.create_hypertable(
  'occupancy.crossing',
  -- Few, wide chunks: planning a count of the past grows with their number. Writes touch one page of the index per
  -- DPU, however wide a chunk is.
  public.by_range('time', INTERVAL '7 days'),
  create_default_indexes => false
);

-- one event once; also the index of the tail
CREATE UNIQUE INDEX crossing_is_stored_once ON occupancy.crossing (dpu, time, seq) INCLUDE (direction);

COMMENT ON TABLE occupancy.crossing IS 'One stored event: one row, whatever number of spaces it touches.';
COMMENT ON COLUMN occupancy.crossing.seq IS 'The device''s own number; 0 if it sends none.';
COMMENT ON COLUMN occupancy.crossing.direction IS '1: towards the DPU, into the side it faces; -1: away from it.';
CREATE TABLE occupancy.rejected_event (
  id           bigint GENERATED ALWAYS AS IDENTITY,
  organization integer NOT NULL,
  received_at  timestamptz NOT NULL DEFAULT now(),
  code         text NOT NULL,
  detail       text NOT NULL,
  payload      jsonb NOT NULL,
  fingerprint  uuid GENERATED ALWAYS AS (md5(payload::text)::uuid) STORED,
  CONSTRAINT rejected_event_pkey PRIMARY KEY (id),
  CONSTRAINT rejected_event_has_an_organization
    FOREIGN KEY (organization) REFERENCES occupancy.organization (id),
  -- an event that is sent again and again is one row; also lists and replays by organization and code
  CONSTRAINT rejected_event_is_kept_once UNIQUE (organization, code, fingerprint)
);

COMMENT ON TABLE occupancy.rejected_event IS
  'Events that could not be counted, with the reason; replayed when the reason is gone.';
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
CREATE TABLE occupancy.refresher (
  one_row      boolean NOT NULL DEFAULT true,
  holder       uuid,
  held_until   timestamptz NOT NULL DEFAULT '-infinity',
  refreshed_at timestamptz NOT NULL DEFAULT '-infinity',
  CONSTRAINT refresher_pkey PRIMARY KEY (one_row),
  CONSTRAINT refresher_has_one_row CHECK (one_row)
);

INSERT INTO occupancy.refresher DEFAULT VALUES;

COMMENT ON TABLE occupancy.refresher IS
  'One row: who refreshes now. A lease, so that a refresher that died or froze is replaced, and fenced when it wakes.';
COMMENT ON COLUMN occupancy.refresher.refreshed_at IS 'When a refresh last ran to its end.';
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
CREATE MATERIALIZED VIEW occupancy.flow_15m WITH (
  timescaledb.continuous,
  timescaledb.materialized_only = true,
  timescaledb.create_group_indexes = false,
  -- few, wide chunks: planning a count grows with the chunks
  timescaledb.chunk_interval = '360 days'
) AS
SELECT
  effect.space,
  public.time_bucket(INTERVAL '15 minutes', crossing.time) AS bucket,
  (count(*) FILTER (WHERE crossing.direction * effect.sign > 0))::integer AS entries,
  (count(*) FILTER (WHERE crossing.direction * effect.sign < 0))::integer AS exits,
  max(crossing.time) AS last_crossing
FROM occupancy.crossing
JOIN occupancy.effect
  ON effect.dpu = crossing.dpu
  AND crossing.time >= effect.valid_from
  AND crossing.time < effect.valid_to
GROUP BY effect.space, public.time_bucket(INTERVAL '15 minutes', crossing.time)
WITH NO DATA;

COMMENT ON VIEW occupancy.flow_15m IS
  'Entries, exits and the latest crossing of each space in each 15 minutes (UTC). Trusted before the horizon only.';

-- Counts and repairs look up ranges of one space; unique, so that nothing can be materialized twice.
-- On the materialization hypertable, because a continuous aggregate itself takes no unique index.
DO $$
BEGIN
  EXECUTE (
    SELECT format('CREATE UNIQUE INDEX flow_15m_has_one_row_per_space_and_bucket ON %I.%I '
                  '(space, bucket) INCLUDE (entries, exits, last_crossing)',
                  materialization_hypertable_schema, materialization_hypertable_name)
    FROM timescaledb_information.continuous_aggregates
    WHERE view_schema = 'occupancy' AND view_name = 'flow_15m'
  );
END
$$;
CREATE MATERIALIZED VIEW occupancy.flow_1d WITH (
  timescaledb.continuous,
  timescaledb.materialized_only = true,
  timescaledb.create_group_indexes = false,
  -- few, wide chunks: planning a count grows with the chunks
  timescaledb.chunk_interval = '1800 days'
) AS
SELECT
  flow_15m.space,
  public.time_bucket(INTERVAL '1 day', flow_15m.bucket) AS bucket,
  sum(flow_15m.entries)::integer AS entries,
  sum(flow_15m.exits)::integer AS exits,
  max(flow_15m.last_crossing) AS last_crossing
FROM occupancy.flow_15m
GROUP BY flow_15m.space, public.time_bucket(INTERVAL '1 day', flow_15m.bucket)
WITH NO DATA;

COMMENT ON VIEW occupancy.flow_1d IS
  'Entries, exits and the latest crossing of each space in each day (UTC). Trusted before the horizon only.';

-- Counts and repairs look up ranges of one space; unique, so that nothing can be materialized twice.
-- On the materialization hypertable, because a continuous aggregate itself takes no unique index.
DO $$
BEGIN
  EXECUTE (
    SELECT format('CREATE UNIQUE INDEX flow_1d_has_one_row_per_space_and_bucket ON %I.%I '
                  '(space, bucket) INCLUDE (entries, exits, last_crossing)',
                  materialization_hypertable_schema, materialization_hypertable_name)
    FROM timescaledb_information.continuous_aggregates
    WHERE view_schema = 'occupancy' AND view_name = 'flow_1d'
  );
END
$$;
CREATE MATERIALIZED VIEW occupancy.flow_30d WITH (
  timescaledb.continuous,
  timescaledb.materialized_only = true,
  timescaledb.create_group_indexes = false,
  -- few, wide chunks: planning a count grows with the chunks
  timescaledb.chunk_interval = '18000 days'
) AS
SELECT
  flow_1d.space,
  public.time_bucket(INTERVAL '30 days', flow_1d.bucket) AS bucket,
  sum(flow_1d.entries)::integer AS entries,
  sum(flow_1d.exits)::integer AS exits,
  max(flow_1d.last_crossing) AS last_crossing
FROM occupancy.flow_1d
GROUP BY flow_1d.space, public.time_bucket(INTERVAL '30 days', flow_1d.bucket)
WITH NO DATA;

COMMENT ON VIEW occupancy.flow_30d IS
  'Entries, exits and the latest crossing of each space in each 30 days (counted from 2000-01-03) (UTC). Trusted before the horizon only.';

-- Counts and repairs look up ranges of one space; unique, so that nothing can be materialized twice.
-- On the materialization hypertable, because a continuous aggregate itself takes no unique index.
DO $$
BEGIN
  EXECUTE (
    SELECT format('CREATE UNIQUE INDEX flow_30d_has_one_row_per_space_and_bucket ON %I.%I '
                  '(space, bucket) INCLUDE (entries, exits, last_crossing)',
                  materialization_hypertable_schema, materialization_hypertable_name)
    FROM timescaledb_information.continuous_aggregates
    WHERE view_schema = 'occupancy' AND view_name = 'flow_30d'
  );
END
$$;
