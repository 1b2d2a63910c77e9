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
