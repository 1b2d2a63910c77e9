CREATE TABLE occupancy.bi_login (
  login        name NOT NULL,
  organization integer NOT NULL,
  CONSTRAINT bi_login_pkey PRIMARY KEY (login),
  CONSTRAINT bi_login_has_an_organization FOREIGN KEY (organization) REFERENCES occupancy.organization (id)
);

COMMENT ON TABLE occupancy.bi_login IS
  'Whose rows a login of the database sees in schema bi: those of one organization. No row: none.';
