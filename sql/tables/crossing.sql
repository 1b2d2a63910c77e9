CREATE TABLE occupancy.crossing (
  time        timestamptz NOT NULL,
  dpu         integer NOT NULL,
  seq         bigint NOT NULL DEFAULT 0,
  direction   smallint NOT NULL,
  delay       integer NOT NULL DEFAULT 0,
  CONSTRAINT direction_is_one_or_minus_one CHECK (direction IN (1, -1))
);

SELECT public.create_hypertable(
  'occupancy.crossing',
  -- Few, wide chunks: planning a count of the past grows with their number. Writes touch one page of the index per
  -- DPU, however wide a chunk is.
  public.by_range('time', INTERVAL '7 days'),
  create_default_indexes => false
);

-- one event once; also the index of the tail
CREATE UNIQUE INDEX crossing_is_stored_once ON occupancy.crossing (dpu, time, seq) INCLUDE (direction);

ALTER TABLE occupancy.crossing SET (
  timescaledb.compress,
  timescaledb.compress_segmentby = 'dpu',
  timescaledb.compress_orderby = 'time, seq',
  -- Bloom filters of the unique index would take 1.1 bytes an event; the times of a batch say enough.
  timescaledb.sparse_index = ''
);

COMMENT ON TABLE occupancy.crossing IS 'One stored event: one row, whatever number of spaces it touches.';
COMMENT ON COLUMN occupancy.crossing.seq IS 'The device''s own number; 0 if it sends none.';
COMMENT ON COLUMN occupancy.crossing.direction IS '1: towards the DPU, into the side it faces; -1: away from it.';
COMMENT ON COLUMN occupancy.crossing.delay IS
  'Whole seconds from when it happened to when it was stored; negative where the device''s clock was ahead.';
