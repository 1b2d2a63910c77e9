-- Answers kept for Idempotency-Key

CREATE TABLE occupancy.request_receipt (
  organization    integer NOT NULL,
  idempotency_key text NOT NULL,
  fingerprint     bytea NOT NULL,
  receipt         json NOT NULL,
  received_at     timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT request_receipt_pkey PRIMARY KEY (organization, idempotency_key),
  CONSTRAINT request_receipt_has_an_organization
    FOREIGN KEY (organization) REFERENCES occupancy.organization (id)
);

-- receipts are forgotten by age
CREATE INDEX request_receipt_by_age ON occupancy.request_receipt (received_at);

COMMENT ON TABLE occupancy.request_receipt IS
  'What a request with an Idempotency-Key was answered, to answer its repetition alike.';
COMMENT ON COLUMN occupancy.request_receipt.fingerprint IS
  'SHA-256 of what was sent: the same key with something else is refused.';

-- Offsets of Kafka

CREATE TABLE occupancy.kafka_offset (
  cluster_id     text NOT NULL,
  consumer_group text NOT NULL,
  topic          text NOT NULL,
  partition      integer NOT NULL,
  next_offset    bigint,
  epoch          bigint NOT NULL DEFAULT 1,
  owner          text NOT NULL,
  updated_at     timestamptz NOT NULL DEFAULT now(),
  -- With the cluster: offsets of another one mean other messages.
  CONSTRAINT kafka_offset_pkey PRIMARY KEY (cluster_id, consumer_group, topic, partition),
  CONSTRAINT next_offset_is_not_negative CHECK (next_offset >= 0)
  -- Each batch updates its partitions' rows: room for new versions on the same page.
) WITH (fillfactor = 25, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

COMMENT ON TABLE occupancy.kafka_offset IS
  'How far each partition of a Kafka topic is stored. Moved in the transaction that stores the messages.';
COMMENT ON COLUMN occupancy.kafka_offset.next_offset IS
  'Offset of the first message that is not stored; null: none was ever stored.';
COMMENT ON COLUMN occupancy.kafka_offset.epoch IS
  'Grows each time a worker takes the partition over. Writes under an older one are refused.';
COMMENT ON COLUMN occupancy.kafka_offset.owner IS 'The worker that took it over last: host, process, and a random part.';

-- What DPUs say of themselves

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
COMMENT ON COLUMN occupancy.heartbeat.seq IS 'The number of the last event that the device had sent; 0 if it says none.';
COMMENT ON COLUMN occupancy.heartbeat.time IS 'The device''s clock when it sent this.';
COMMENT ON COLUMN occupancy.heartbeat.received_at IS 'The service''s clock when this came in.';
COMMENT ON COLUMN occupancy.heartbeat.sent_at IS
  'What tells a later heartbeat from an earlier one: time; received_at where the device''s clock is certainly wrong.';
COMMENT ON COLUMN occupancy.heartbeat.heard_at IS
  'When any heartbeat of the device last came in, also one that was older than this.';

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
  'sent_at of the heartbeat that said so: a later statement about the same range replaces an earlier one.';

-- What was rejected of one DPU, and when. Cut, because whoever sends an id may send one that no index holds.
CREATE INDEX rejected_event_by_dpu ON occupancy.rejected_event (
  organization, left(coalesce(payload ->> 'dpu_id', payload #>> '{data,dpu_id}'), 200), received_at
);

-- Columnstore and retention
