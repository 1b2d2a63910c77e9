CREATE TABLE occupancy.refresher (
  one_row      boolean NOT NULL DEFAULT true,
  holder       uuid,
  held_until   timestamptz NOT NULL DEFAULT '-infinity',
  refreshed_at timestamptz NOT NULL DEFAULT '-infinity',
  CONSTRAINT refresher_pkey PRIMARY KEY (one_row),
  CONSTRAINT refresher_has_one_row CHECK (one_row)
);

INSERT INTO occupancy.refresher DEFAULT VALUES;

COMMENT ON TABLE occupancy.refresher IS
  'One row: who refreshes now. A lease, so that a refresher that died or froze is replaced, and fenced when it wakes.';
COMMENT ON COLUMN occupancy.refresher.refreshed_at IS 'When a refresh last ran to its end.';
