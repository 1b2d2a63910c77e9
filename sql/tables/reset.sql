CREATE TABLE occupancy.reset (
  id                 integer GENERATED ALWAYS AS IDENTITY,
  space              integer NOT NULL,
  at                 timestamptz NOT NULL,
  count              integer NOT NULL,
  reason             text NOT NULL DEFAULT '',
  rest_entries       integer,
  rest_exits         integer,
  rest_last_crossing timestamptz,
  CONSTRAINT reset_pkey PRIMARY KEY (id),
  CONSTRAINT reset_belongs_to_a_space FOREIGN KEY (space) REFERENCES occupancy.space (id) ON DELETE CASCADE,
  -- also finds the latest reset before an instant
  CONSTRAINT space_has_one_reset_at_an_instant UNIQUE (space, at),
  CONSTRAINT reset_count_is_not_negative CHECK (count >= 0)
);

COMMENT ON TABLE occupancy.reset IS 'An absolute statement: the count of the space was `count` at `at`.';
COMMENT ON COLUMN occupancy.reset.rest_entries IS
  'Entries after the reset until its quarter of an hour (UTC) ended; null while the crossings of that time are stored.';
COMMENT ON COLUMN occupancy.reset.rest_exits IS 'The same for exits.';
COMMENT ON COLUMN occupancy.reset.rest_last_crossing IS 'The last of those crossings.';
