CREATE OR REPLACE FUNCTION occupancy.hold_crossings(
  organization integer, dpu_ids text[], times timestamptz[], directions smallint[], seqs bigint[]
) RETURNS TABLE (index integer, code text, detail text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  held tstzmultirange;
  places integer[];
BEGIN
  PERFORM occupancy.lock_for_writing();
  held := occupancy.enter_chunks(times);
  IF isempty(held) THEN
    RETURN QUERY SELECT * FROM occupancy.ingest_crossings(organization, dpu_ids, times, directions, seqs);
    RETURN;
  END IF;
  INSERT INTO occupancy.held_crossing (organization, dpu_id, time, direction, seq)
  SELECT hold_crossings.organization, event.dpu_id, event.time, event.direction, event.seq
  FROM unnest(dpu_ids, times, directions, seqs) WITH ORDINALITY AS event (dpu_id, time, direction, seq, place)
  WHERE event.time <@ held
  ORDER BY event.place;
  places := ARRAY(
    SELECT event.place::integer FROM unnest(times) WITH ORDINALITY AS event (time, place)
    WHERE NOT event.time <@ held ORDER BY event.place
  );
  RETURN QUERY
    SELECT places[left_over.index], left_over.code, left_over.detail
    FROM occupancy.ingest_crossings(
      organization,
      ARRAY(SELECT dpu_ids[place] FROM unnest(places) WITH ORDINALITY AS kept (place, i) ORDER BY kept.i),
      ARRAY(SELECT times[place] FROM unnest(places) WITH ORDINALITY AS kept (place, i) ORDER BY kept.i),
      ARRAY(SELECT directions[place] FROM unnest(places) WITH ORDINALITY AS kept (place, i) ORDER BY kept.i),
      ARRAY(SELECT seqs[place] FROM unnest(places) WITH ORDINALITY AS kept (place, i) ORDER BY kept.i)
    ) AS left_over;
END
$$;

COMMENT ON FUNCTION occupancy.hold_crossings(integer, text[], timestamptz[], smallint[], bigint[]) IS
  'ingest_crossings for whoever must not be held up, nor told to send again: events for a chunk that somebody else holds, '
  'such as a compression, are kept in held_crossing, and stored and judged by store_held. Nobody counts them until then.';
