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
