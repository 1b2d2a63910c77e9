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
