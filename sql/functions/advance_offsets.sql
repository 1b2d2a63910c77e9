CREATE OR REPLACE FUNCTION occupancy.advance_offsets(
  cluster_id text, consumer_group text, topic text,
  partitions integer[], epochs bigint[], positions bigint[], next_offsets bigint[],
  leader_epochs integer[], topic_id text
) RETURNS TABLE (partition integer, epoch bigint, next_offset bigint)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  -- locked in the order of claim_partitions, and to the end of the transaction that stores the messages
  PERFORM 1
  FROM occupancy.kafka_offset AS held
  WHERE held.cluster_id = advance_offsets.cluster_id
    AND held.consumer_group = advance_offsets.consumer_group
    AND held.topic = advance_offsets.topic
    AND held.partition = ANY (partitions)
  ORDER BY held.partition
  FOR UPDATE;

  RETURN QUERY
    SELECT wanted.partition, held.epoch, held.next_offset
    FROM unnest(partitions, epochs, positions) AS wanted (partition, epoch, position)
    LEFT JOIN occupancy.kafka_offset AS held
      ON held.cluster_id = advance_offsets.cluster_id
      AND held.consumer_group = advance_offsets.consumer_group
      AND held.topic = advance_offsets.topic
      AND held.partition = wanted.partition
    -- also the position: a batch that begins elsewhere would leave messages out or store them again
    WHERE held.epoch IS DISTINCT FROM wanted.epoch OR held.next_offset IS DISTINCT FROM wanted.position
    ORDER BY wanted.partition;
  IF FOUND THEN
    RETURN;
  END IF;

  UPDATE occupancy.kafka_offset AS held
  SET next_offset = wanted.next_offset, leader_epoch = wanted.leader_epoch,
    -- brokers that do not answer for once do not make it another topic
    topic_id = coalesce(advance_offsets.topic_id, held.topic_id), updated_at = clock_timestamp()
  FROM unnest(partitions, next_offsets, leader_epochs) AS wanted (partition, next_offset, leader_epoch)
  WHERE held.cluster_id = advance_offsets.cluster_id
    AND held.consumer_group = advance_offsets.consumer_group
    AND held.topic = advance_offsets.topic
    AND held.partition = wanted.partition;
END
$$;

COMMENT ON FUNCTION occupancy.advance_offsets(
  text, text, text, integer[], bigint[], bigint[], bigint[], integer[], text
) IS
  'Moves offsets from `positions` to `next_offsets`, all or none, for the worker that holds them under `epochs`. Returns '
  'the partitions that it does not hold so, with what is stored for them: then nothing was moved.';
