CREATE TABLE occupancy.heartbeat (
  dpu         integer NOT NULL,
  seq         bigint NOT NULL DEFAULT 0,
  time        timestamptz NOT NULL,
  received_at timestamptz NOT NULL,
  sent_at     timestamptz NOT NULL,
  heard_at    timestamptz NOT NULL,
  CONSTRAINT heartbeat_pkey PRIMARY KEY (dpu),
  CONSTRAINT heartbeat_has_a_dpu FOREIGN KEY (dpu) REFERENCES occupancy.dpu (id) ON DELETE CASCADE
-- A row is written once a minute and DPU: with room in its page and no other index, always in its place.
) WITH (fillfactor = 50);

COMMENT ON TABLE occupancy.heartbeat IS 'The latest heartbeat of each DPU: one row, no history.';
COMMENT ON COLUMN occupancy.heartbeat.seq IS 'The number of the last event that the device had; 0 if it says none.';
COMMENT ON COLUMN occupancy.heartbeat.time IS 'The device''s clock when it sent this.';
COMMENT ON COLUMN occupancy.heartbeat.received_at IS 'The service''s clock when this came in.';
COMMENT ON COLUMN occupancy.heartbeat.sent_at IS
  'time; received_at where the device''s clock is certainly wrong. How it tells a later heartbeat: keep_heartbeats.';
COMMENT ON COLUMN occupancy.heartbeat.heard_at IS
  'When any heartbeat of the device last came in, also one that was older than this.';
