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
