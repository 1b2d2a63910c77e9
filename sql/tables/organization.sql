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
