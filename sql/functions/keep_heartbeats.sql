CREATE OR REPLACE FUNCTION occupancy.keep_heartbeats(
  organization integer, dpu_ids text[], seqs bigint[], times timestamptz[], received_ats timestamptz[],
  sent_ats timestamptz[]
) RETURNS TABLE (index integer, code text)
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
  WITH beat AS MATERIALIZED (
    SELECT given.index::integer, dpu.id AS dpu, given.seq, given.time, given.received_at, given.sent_at
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
    ORDER BY beat.dpu, beat.sent_at DESC, beat.index DESC
    ON CONFLICT (dpu) DO UPDATE SET
      seq = CASE WHEN excluded.sent_at > stored.sent_at THEN excluded.seq ELSE stored.seq END,
      time = CASE WHEN excluded.sent_at > stored.sent_at THEN excluded.time ELSE stored.time END,
      received_at =
        CASE WHEN excluded.sent_at > stored.sent_at THEN excluded.received_at ELSE stored.received_at END,
      sent_at = greatest(excluded.sent_at, stored.sent_at),
      heard_at = greatest(excluded.heard_at, stored.heard_at)
    RETURNING stored.dpu, stored.sent_at
  )
  SELECT beat.index, CASE WHEN beat.dpu IS NULL THEN 'unknown_dpu' ELSE 'older' END
  FROM beat
  LEFT JOIN kept ON kept.dpu = beat.dpu
  WHERE beat.dpu IS NULL OR beat.sent_at < kept.sent_at
  ORDER BY beat.index
$$;

COMMENT ON FUNCTION occupancy.keep_heartbeats(
  integer, text[], bigint[], timestamptz[], timestamptz[], timestamptz[]) IS
  'Keeps the latest heartbeat of each DPU, by sent_at. Returns a row, with its place from 1, for each that is not the '
  'latest: unknown_dpu, or older.';
