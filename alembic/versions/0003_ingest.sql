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
  leader_epoch   integer,
  topic_id       text,
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
COMMENT ON COLUMN occupancy.kafka_offset.leader_epoch IS
  'Under which leader the last message stored was written: brokers tell from it whether their log was cut off before it.';
COMMENT ON COLUMN occupancy.kafka_offset.topic_id IS
  'Which topic of that name the offset is of: one that is made anew has another id. Null where the brokers do not say.';
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
COMMENT ON COLUMN occupancy.heartbeat.seq IS 'The number of the last event that the device had; 0 if it says none.';
COMMENT ON COLUMN occupancy.heartbeat.time IS 'The device''s clock when it sent this.';
COMMENT ON COLUMN occupancy.heartbeat.received_at IS 'The service''s clock when this came in.';
COMMENT ON COLUMN occupancy.heartbeat.sent_at IS
  'time; received_at where the device''s clock is certainly wrong. How it tells a later heartbeat: keep_heartbeats.';
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
  'When the device said so: a later statement about the same range replaces an earlier one.';

-- What was rejected of one DPU, and when. Cut, because whoever sends an id may send one that no index holds.
CREATE INDEX rejected_event_by_dpu ON occupancy.rejected_event (
  organization, left(coalesce(payload ->> 'dpu_id', payload #>> '{data,dpu_id}'), 200), received_at
);

-- Columnstore and retention

-- What reads it is made anew after the revision.
DROP VIEW IF EXISTS bi.crossings;

-- When an event was stored, as whole seconds after it happened: compressed, an instant takes 4.3 bytes, this 0.4. What is
-- stored already gets its delay by the next revision, piece by piece.
ALTER TABLE occupancy.crossing
  ADD COLUMN delay integer NOT NULL DEFAULT 0;
ALTER TABLE occupancy.crossing
  ALTER COLUMN received_at DROP NOT NULL;
COMMENT ON COLUMN occupancy.crossing.delay IS
  'Whole seconds from when it happened to when it was stored; negative where the device''s clock was ahead.';

ALTER TABLE occupancy.crossing SET (
  timescaledb.compress,
  timescaledb.compress_segmentby = 'dpu',
  timescaledb.compress_orderby = 'time, seq',
  timescaledb.sparse_index = ''
);

-- Narrower than the chunks until now, so that they can be compressed soon after they end.
SELECT public.set_chunk_time_interval('occupancy.flow_15m', INTERVAL '90 days');
ALTER MATERIALIZED VIEW occupancy.flow_15m SET (
  timescaledb.compress,
  timescaledb.compress_segmentby = 'space',
  timescaledb.compress_orderby = 'bucket'
);

ALTER TABLE occupancy.horizon
  ADD COLUMN dropped_before timestamptz NOT NULL DEFAULT '-infinity',
  ADD CONSTRAINT only_what_is_aggregated_is_dropped CHECK (dropped_before <= read_before);
COMMENT ON COLUMN occupancy.horizon.dropped_before IS
  'Single crossings before this instant are dropped, or about to be: nobody reads, stores or repairs there any more. The '
  'start of a quarter of an hour (UTC). No stale mark begins before it.';

ALTER TABLE occupancy.reset
  ADD COLUMN rest_entries integer,
  ADD COLUMN rest_exits integer,
  ADD COLUMN rest_last_crossing timestamptz;
COMMENT ON COLUMN occupancy.reset.rest_entries IS
  'Entries after the reset until its quarter of an hour (UTC) ended; null while the crossings of that time are stored.';
COMMENT ON COLUMN occupancy.reset.rest_exits IS 'The same for exits.';
COMMENT ON COLUMN occupancy.reset.rest_last_crossing IS 'The last of those crossings.';

CREATE TABLE occupancy.storage (
  one_row                   boolean NOT NULL DEFAULT true,
  compress_crossings_after  interval DEFAULT '7 days',
  compress_aggregates_after interval DEFAULT '30 days',
  keep_crossings            interval,
  keep_rejected             interval,
  worked_at                 timestamptz NOT NULL DEFAULT '-infinity',
  CONSTRAINT storage_pkey PRIMARY KEY (one_row),
  CONSTRAINT storage_has_one_row CHECK (one_row),
  CONSTRAINT compress_crossings_after_is_not_negative CHECK (compress_crossings_after >= INTERVAL '0'),
  CONSTRAINT compress_aggregates_after_is_not_negative CHECK (compress_aggregates_after >= INTERVAL '0'),
  -- a daily reset is at most a day ago, and its quarter of an hour is read from crossings
  CONSTRAINT crossings_are_kept_for_two_days_at_least CHECK (keep_crossings >= INTERVAL '2 days'),
  CONSTRAINT keep_rejected_is_not_negative CHECK (keep_rejected >= INTERVAL '0')
);

INSERT INTO occupancy.storage DEFAULT VALUES;

COMMENT ON TABLE occupancy.storage IS
  'One row: what becomes of old data. Here and not in a process''s environment, because deleting is the business of the '
  'data, whoever does it.';
COMMENT ON COLUMN occupancy.storage.compress_crossings_after IS
  'Age of the end of a chunk of crossings at which it is compressed; null: never.';
COMMENT ON COLUMN occupancy.storage.compress_aggregates_after IS
  'Age of the end of a chunk of flow_15m at which it is compressed; null: never.';
COMMENT ON COLUMN occupancy.storage.keep_crossings IS
  'Age of the end of a chunk of crossings at which it is dropped; null: never. Aggregates are kept.';
COMMENT ON COLUMN occupancy.storage.keep_rejected IS 'Age at which a rejected event is deleted; null: never.';
COMMENT ON COLUMN occupancy.storage.worked_at IS 'When the work on old data last began.';

-- Events that wait for a chunk to be compressed

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
