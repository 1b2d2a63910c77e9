CREATE OR REPLACE FUNCTION occupancy.claim_partitions(
  cluster_id text, consumer_group text, topic text, partitions integer[], owner text
) RETURNS TABLE (partition integer, next_offset bigint, epoch bigint, leader_epoch integer, topic_id text)
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO occupancy.kafka_offset AS held (cluster_id, consumer_group, topic, partition, owner)
  SELECT claim_partitions.cluster_id, claim_partitions.consumer_group, claim_partitions.topic, wanted.partition,
    claim_partitions.owner
  FROM unnest(partitions) AS wanted (partition)
  -- in one order for all workers: two that take over the same ones never wait for each other in a circle
  ORDER BY wanted.partition
  ON CONFLICT ON CONSTRAINT kafka_offset_pkey
    DO UPDATE SET epoch = held.epoch + 1, owner = excluded.owner, updated_at = clock_timestamp()
  RETURNING held.partition, held.next_offset, held.epoch, held.leader_epoch, held.topic_id
$$;

COMMENT ON FUNCTION occupancy.claim_partitions(text, text, text, integer[], text) IS
  'Takes partitions over: from now on, whoever held them before can no longer move their offsets. Waits for a '
  'transaction of the former owner that is about to do so.';
