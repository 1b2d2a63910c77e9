CREATE OR REPLACE FUNCTION occupancy.store_held(holder uuid) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  busy tstzmultirange;
  ids bigint[];
  part record;
  event record;
BEGIN
  -- Nearly always; then nobody else is asked for anything.
  IF NOT EXISTS (SELECT FROM occupancy.held_crossing) THEN
    RETURN 0;
  END IF;
  PERFORM occupancy.hold_refresh(holder);
  PERFORM occupancy.lock_for_writing();
  -- Asked for all that are held: what has to wait keeps nothing else waiting, however much it is.
  busy := occupancy.enter_chunks(ARRAY(
    SELECT DISTINCT public.time_bucket(INTERVAL '15 minutes', held.time) FROM occupancy.held_crossing AS held));
  ids := ARRAY(
    SELECT held.id FROM occupancy.held_crossing AS held
    WHERE NOT held.time <@ busy
    ORDER BY held.id LIMIT 1000 FOR UPDATE SKIP LOCKED
  );
  FOR part IN
    SELECT held.organization, array_agg(held.dpu_id ORDER BY held.id) AS dpu_ids,
      array_agg(held.time ORDER BY held.id) AS times, array_agg(held.direction ORDER BY held.id) AS directions,
      array_agg(held.seq ORDER BY held.id) AS seqs
    FROM occupancy.held_crossing AS held
    WHERE held.id = ANY (ids)
    GROUP BY held.organization
  LOOP
    BEGIN
      PERFORM occupancy.ingest_crossings(part.organization, part.dpu_ids, part.times, part.directions, part.seqs);
    EXCEPTION WHEN feature_not_supported OR cardinality_violation OR data_exception OR integrity_constraint_violation
      OR program_limit_exceeded OR plpgsql_error OR internal_error THEN
      -- One of them is refused: it must not keep the others waiting for ever.
      FOR event IN
        SELECT * FROM unnest(part.dpu_ids, part.times, part.directions, part.seqs) AS one (dpu_id, time, direction, seq)
      LOOP
        BEGIN
          PERFORM occupancy.ingest_crossings(
            part.organization, ARRAY[event.dpu_id], ARRAY[event.time], ARRAY[event.direction], ARRAY[event.seq]);
        EXCEPTION WHEN feature_not_supported OR cardinality_violation OR data_exception
          OR integrity_constraint_violation OR program_limit_exceeded OR plpgsql_error OR internal_error THEN
          PERFORM occupancy.keep_rejected(
            part.organization, ARRAY['unstorable'], ARRAY['the database refuses it: ' || sqlstate],
            ARRAY[jsonb_build_object(
              'dpu_id', event.dpu_id,
              'timestamp', to_char(event.time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
              'direction', event.direction,
              'seq', event.seq
            )]);
        END;
      END LOOP;
    END;
  END LOOP;
  DELETE FROM occupancy.held_crossing AS held WHERE held.id = ANY (ids);
  -- A long step must not end with its lease run out.
  PERFORM occupancy.hold_refresh(holder);
  RETURN cardinality(ids);
END
$$;

COMMENT ON FUNCTION occupancy.store_held(uuid) IS
  'A step of a refresh, before the others: stores at most 1,000 events of held_crossing whose chunks are free again, each as '
  'ingest_crossings does. Returns how many it took: none, if there are none or all have to wait.';
