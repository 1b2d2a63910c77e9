CREATE TABLE occupancy.sent_report (
  dpu       integer NOT NULL,
  events    integer NOT NULL,
  from_time timestamptz NOT NULL,
  to_time   timestamptz NOT NULL,
  stated_at timestamptz NOT NULL,
  CONSTRAINT sent_report_ends_after_it_begins CHECK (from_time < to_time),
  CONSTRAINT sent_report_is_not_negative CHECK (events >= 0)
);

SELECT public.create_hypertable(
  'occupancy.sent_report',
  -- A chunk is dropped when all of it is old: one a week is fine enough for months, and few to plan with.
  public.by_range('from_time', INTERVAL '7 days'),
  create_default_indexes => false
);

-- the latest word about a range; also the index by which it is read
CREATE UNIQUE INDEX sent_report_is_one_for_a_range ON occupancy.sent_report (dpu, from_time, to_time);

COMMENT ON TABLE occupancy.sent_report IS
  'What a DPU says of itself: in [from_time, to_time) it sent so many events. Old ones are dropped (drop_sent_reports).';
COMMENT ON COLUMN occupancy.sent_report.stated_at IS
  'When the device said so: a later statement about the same range replaces an earlier one.';
