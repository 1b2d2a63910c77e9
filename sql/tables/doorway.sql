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
