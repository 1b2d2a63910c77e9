CREATE TABLE occupancy.held_crossing (
  id           bigint GENERATED ALWAYS AS IDENTITY,
  organization integer NOT NULL,
  dpu_id       text NOT NULL,
  time         timestamptz NOT NULL,
  direction    smallint NOT NULL,
  seq          bigint NOT NULL,
  CONSTRAINT held_crossing_pkey PRIMARY KEY (id),
  CONSTRAINT held_crossing_has_an_organization
    FOREIGN KEY (organization) REFERENCES occupancy.organization (id) ON DELETE CASCADE
);

COMMENT ON TABLE occupancy.held_crossing IS
  'Events of Kafka, MQTT and replay-rejected whose chunk somebody else holds, such as a compression: not stored yet, and '
  'not counted. A part of where they come from, for as long as that takes.';
