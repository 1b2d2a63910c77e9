CREATE OR REPLACE FUNCTION occupancy.keep_heartbeats(
  organization integer, dpu_ids text[], seqs bigint[], times timestamptz[], received_ats timestamptz[],
  sent_ats timestamptz[]
) RETURNS TABLE (index integer, code text)
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
  WITH beat AS MATERIALIZED (
    SELECT given.index::integer, dpu.id AS dpu, given.seq, given.time, given.received_at, given.sent_at,
      -- None was sent after it came in: what a clock that is ahead says orders nothing, once it is set right.
      least(given.sent_at, given.received_at) AS at
    FROM unnest(dpu_ids, seqs, times, received_ats, sent_ats) WITH ORDINALITY
      AS given (dpu_id, seq, time, received_at, sent_at, index)
    LEFT JOIN occupancy.dpu
      ON dpu.organization = keep_heartbeats.organization AND dpu.dpu_id = given.dpu_id
  ), kept AS (
    INSERT INTO occupancy.heartbeat AS stored (dpu, seq, time, received_at, sent_at, heard_at)
    SELECT DISTINCT ON (beat.dpu) beat.dpu, beat.seq, beat.time, beat.received_at, beat.sent_at,
      max(beat.received_at) OVER (PARTITION BY beat.dpu)
    FROM beat
    WHERE beat.dpu IS NOT NULL
    -- in one order for all writers: two that bring the same DPUs wait for each other, never in a circle
    ORDER BY beat.dpu, beat.at DESC, beat.sent_at DESC, beat.index DESC
    ON CONFLICT (dpu) DO UPDATE SET
      (seq, time, received_at, sent_at) = (
        SELECT
          CASE WHEN is_later THEN excluded.seq ELSE stored.seq END,
          CASE WHEN is_later THEN excluded.time ELSE stored.time END,
          CASE WHEN is_later THEN excluded.received_at ELSE stored.received_at END,
          CASE WHEN is_later THEN excluded.sent_at ELSE stored.sent_at END
        FROM (
          SELECT (least(excluded.sent_at, excluded.received_at), excluded.sent_at)
              > (least(stored.sent_at, stored.received_at), stored.sent_at)
            -- For so long nothing newer came in: this is no latecomer, the clock was set back; unless it is the same again.
            OR (excluded.received_at > stored.received_at + INTERVAL '15 minutes'
              AND excluded.time <> stored.time) AS is_later
        ) AS judged
      ),
      heard_at = greatest(excluded.heard_at, stored.heard_at)
    RETURNING stored.dpu, least(stored.sent_at, stored.received_at) AS at, stored.sent_at
  )
  SELECT beat.index, CASE WHEN beat.dpu IS NULL THEN 'unknown_dpu' ELSE 'older' END
  FROM beat
  LEFT JOIN kept ON kept.dpu = beat.dpu
  WHERE beat.dpu IS NULL OR (beat.at, beat.sent_at) < (kept.at, kept.sent_at)
  ORDER BY beat.index
$$;

COMMENT ON FUNCTION occupancy.keep_heartbeats(
  integer, text[], bigint[], timestamptz[], timestamptz[], timestamptz[]) IS
  'Keeps the latest heartbeat of each DPU: the one sent last, by sent_at but never after it came in; or any that comes in '
  'more than 15 minutes after the latest one, unless it is that one again. Returns a row, with its place from 1, for each that is not the latest: '
  'unknown_dpu, or older.';
