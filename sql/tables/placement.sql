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
