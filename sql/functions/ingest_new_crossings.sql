CREATE OR REPLACE FUNCTION occupancy.ingest_new_crossings(
  organization integer, dpu_ids text[], times timestamptz[], directions smallint[], seqs bigint[],
  hold boolean DEFAULT false
) RETURNS TABLE (index integer, code text, detail text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  late_before timestamptz;
  kept_since timestamptz;
  first_time timestamptz;
  inserted bigint := -1;
  late_dpus integer[];
  late_times timestamptz[];
BEGIN
  PERFORM occupancy.lock_for_writing();
  SELECT horizon.write_before, horizon.dropped_before INTO late_before, kept_since FROM occupancy.horizon;
  SELECT min(t) INTO first_time FROM unnest(times) AS t;

  IF first_time >= occupancy.settled_before() THEN
    BEGIN
      INSERT INTO occupancy.crossing (time, dpu, seq, direction, delay)
      SELECT given.time, dpu.id, given.seq, given.direction,
        least(floor(date_part('epoch', now() - given.time)), 2147483647)::integer
      FROM unnest(dpu_ids, times, directions, seqs) AS given (dpu_id, time, direction, seq)
      JOIN occupancy.dpu
        ON dpu.organization = ingest_new_crossings.organization AND dpu.dpu_id = given.dpu_id
      WHERE given.time >= kept_since
      -- the order of ingest_crossings: whoever waits for another writer does not hold what that one waits for
      ORDER BY dpu.id, given.time, given.seq;
      GET DIAGNOSTICS inserted = ROW_COUNT;
      IF inserted < cardinality(dpu_ids) THEN
        RAISE no_data_found;
      END IF;
    EXCEPTION
      WHEN unique_violation OR no_data_found THEN
        inserted := -1;
    END;
  END IF;

  IF inserted < 0 THEN
    -- one of them is not new, or not to be stored now: none is stored yet, and each is looked at
    IF hold THEN
      RETURN QUERY SELECT * FROM occupancy.hold_crossings(organization, dpu_ids, times, directions, seqs);
    ELSE
      RETURN QUERY SELECT * FROM occupancy.ingest_crossings(organization, dpu_ids, times, directions, seqs);
    END IF;
    RETURN;
  END IF;

  IF first_time < late_before THEN
    SELECT array_agg(dpu.id), array_agg(given.time) INTO late_dpus, late_times
    FROM unnest(dpu_ids, times) AS given (dpu_id, time)
    JOIN occupancy.dpu
      ON dpu.organization = ingest_new_crossings.organization AND dpu.dpu_id = given.dpu_id
    WHERE given.time < late_before;
    PERFORM occupancy.mark_late(late_dpus, late_times);
  END IF;
END
$$;

COMMENT ON FUNCTION occupancy.ingest_new_crossings(integer, text[], timestamptz[], smallint[], bigint[], boolean) IS
  'As ingest_crossings, or hold_crossings if hold, for events of which none is likely to be stored already: cheaper if '
  'that is so and none is old enough to be compressed, dearer if not.';
