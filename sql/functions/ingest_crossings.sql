CREATE OR REPLACE FUNCTION occupancy.ingest_crossings(
  organization integer, dpu_ids text[], times timestamptz[], directions smallint[], seqs bigint[]
) RETURNS TABLE (index integer, code text, detail text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
-- as it is; for what is set below to end with this call
SET plan_cache_mode = auto
AS $$
DECLARE
  late_before timestamptz;
  kept_since timestamptz;
  left_over integer[];
  late_dpus integer[];
  late_times timestamptz[];
  copies bigint;
  held tstzmultirange;
  first_time timestamptz;
  last_time timestamptz;
  left_times tstzmultirange;
  spans tstzrange[];
  span tstzrange;
  span_start timestamptz;
  span_end timestamptz;
  seen record;
  -- by the place of the event
  stored_directions smallint[];
BEGIN
  PERFORM occupancy.lock_for_writing();
  held := occupancy.enter_chunks(times);
  IF NOT isempty(held) THEN
    RAISE EXCEPTION 'nothing can be stored now in %: it is being compressed', held
      USING ERRCODE = 'lock_not_available', SCHEMA = 'occupancy', TABLE = 'crossing',
        HINT = 'Nothing of this call was stored. Send it again later.';
  END IF;
  SELECT horizon.write_before, horizon.dropped_before INTO late_before, kept_since FROM occupancy.horizon;

  WITH event AS (
    SELECT given.index::integer, dpu.id AS dpu, given.time, given.seq, given.direction
    FROM unnest(dpu_ids, times, directions, seqs) WITH ORDINALITY
      AS given (dpu_id, time, direction, seq, index)
    LEFT JOIN occupancy.dpu
      ON dpu.organization = ingest_crossings.organization AND dpu.dpu_id = given.dpu_id
  ), stored AS (
    INSERT INTO occupancy.crossing (time, dpu, seq, direction, delay)
    SELECT event.time, event.dpu, event.seq, event.direction,
      least(floor(date_part('epoch', now() - event.time)), 2147483647)::integer
    FROM event
    WHERE event.dpu IS NOT NULL AND event.time >= kept_since
    -- in one order for all writers: two that bring the same events wait for each other, never in a circle;
    -- of copies in one batch, the first is stored
    ORDER BY event.dpu, event.time, event.seq, event.index
    ON CONFLICT DO NOTHING
    RETURNING crossing.dpu, crossing.time, crossing.seq
  )
  SELECT array_agg(event.index) FILTER (WHERE stored.dpu IS NULL),
    count(stored.dpu) - (SELECT count(*) FROM stored),
    array_agg(stored.dpu) FILTER (WHERE stored.time < late_before),
    array_agg(stored.time) FILTER (WHERE stored.time < late_before)
  INTO left_over, copies, late_dpus, late_times
  FROM event
  LEFT JOIN stored USING (dpu, time, seq);

  IF late_dpus IS NOT NULL THEN
    PERFORM occupancy.mark_late(late_dpus, late_times);
  END IF;

  IF copies > 0 THEN
    -- rare, so that all other batches do without sorting for it
    SELECT array_agg(DISTINCT event.index) INTO left_over
    FROM (
      SELECT given.index::integer,
        row_number() OVER (PARTITION BY given.dpu_id, given.time, given.seq ORDER BY given.index) AS copy
      FROM unnest(dpu_ids, times, seqs) WITH ORDINALITY AS given (dpu_id, time, seq, index)
    ) AS event
    WHERE event.copy > 1 OR event.index = ANY (left_over);
  END IF;
  IF left_over IS NULL THEN
    RETURN;
  END IF;
  -- What is stored in their places is looked for chunk by chunk: a plan takes a lock on every chunk between its first and
  -- its last time, and would wait for one that was not entered (enter_chunks) because none of these events is in it.
  SELECT min(given.time), max(given.time), range_agg(tstzrange(given.time, given.time, '[]'))
  INTO first_time, last_time, left_times
  FROM (SELECT times[place] AS time FROM unnest(left_over) AS place) AS given
  WHERE given.time >= kept_since;
  -- Nearly always; then no chunk has to be looked up, because none between them is being compressed.
  IF first_time = last_time OR first_time >= occupancy.settled_before() THEN
    spans := ARRAY[tstzrange(first_time, last_time + INTERVAL '1 microsecond')];
  ELSE
    spans := ARRAY(
      SELECT tstzrange(chunks.range_start, chunks.range_end)
      FROM timescaledb_information.chunks
      WHERE chunks.hypertable_schema = 'occupancy' AND chunks.hypertable_name = 'crossing'
        AND left_times && tstzrange(chunks.range_start, chunks.range_end)
    );
  END IF;
  -- A plan that is made once is for all times.
  PERFORM set_config('plan_cache_mode', 'force_custom_plan', true);
  FOREACH span IN ARRAY spans LOOP
    -- as variables: other chunks are not opened, while a subquery would be asked again for each event and chunk
    span_start := lower(span);
    span_end := upper(span);
    FOR seen IN
      SELECT left_event.index, crossing.direction
      FROM unnest(left_over) AS left_event (index)
      LEFT JOIN occupancy.dpu
        ON dpu.organization = ingest_crossings.organization AND dpu.dpu_id = dpu_ids[left_event.index]
      LEFT JOIN occupancy.crossing
        ON crossing.dpu = dpu.id
        AND crossing.time = times[left_event.index]
        AND crossing.seq = seqs[left_event.index]
        AND crossing.time >= span_start AND crossing.time < span_end
      WHERE times[left_event.index] >= span_start AND times[left_event.index] < span_end
    LOOP
      stored_directions[seen.index] := seen.direction;
    END LOOP;
  END LOOP;
  PERFORM set_config('plan_cache_mode', 'auto', true);

  RETURN QUERY
    WITH judged AS (
      SELECT left_event.index, dpu.dpu_id, stored_directions[left_event.index] AS stored_direction,
        CASE
          -- also where the DPU was registered between these two statements
          WHEN dpu.id IS NULL THEN 'unknown_dpu'
          WHEN times[left_event.index] < kept_since THEN 'past_retention'
          WHEN stored_directions[left_event.index] IS NULL THEN 'unknown_dpu'
          WHEN stored_directions[left_event.index] = directions[left_event.index] THEN 'duplicate'
          ELSE 'conflict'
        END AS code
      FROM unnest(left_over) AS left_event (index)
      LEFT JOIN occupancy.dpu
        ON dpu.organization = ingest_crossings.organization AND dpu.dpu_id = dpu_ids[left_event.index]
    ), explained AS (
      SELECT judged.index, judged.code,
        CASE judged.code
          WHEN 'unknown_dpu' THEN format('dpu_id %s is not registered', to_json(dpu_ids[judged.index]))
          WHEN 'past_retention' THEN format(
            'crossings before %s are no longer stored', to_char(kept_since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"'))
          WHEN 'conflict' THEN format(
            'dpu_id %s has direction %s at this timestamp and seq, not %s',
            to_json(dpu_ids[judged.index]), judged.stored_direction, directions[judged.index])
          ELSE ''
        END AS detail
      FROM judged
    ), kept AS (
      INSERT INTO occupancy.rejected_event (organization, code, detail, payload)
      SELECT ingest_crossings.organization, rejected.code, rejected.detail, rejected.payload
      FROM (
        SELECT explained.code, explained.detail, jsonb_build_object(
          'dpu_id', dpu_ids[explained.index],
          'timestamp', to_char(times[explained.index] AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
          'direction', directions[explained.index],
          'seq', seqs[explained.index]
        ) AS payload
        FROM explained
        WHERE explained.code <> 'duplicate'
      ) AS rejected
      -- in one order for all writers here too, that of keep_rejected
      ORDER BY rejected.code, md5(rejected.payload::text)
      ON CONFLICT DO NOTHING
    )
    SELECT explained.index, explained.code, explained.detail FROM explained ORDER BY explained.index;
END
$$;

COMMENT ON FUNCTION occupancy.ingest_crossings(integer, text[], timestamptz[], smallint[], bigint[]) IS
  'Stores events, each once, and marks what comes late. Returns a row, with its place from 1, for each event that was '
  'not stored: duplicate, conflict (same DPU, instant and seq, other direction), unknown_dpu or past_retention (before '
  'dropped_before); all but duplicates are kept in rejected_event. Raises lock_not_available at once, with crossing as the '
  'table of the error, where a chunk is being compressed.';
