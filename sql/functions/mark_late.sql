CREATE OR REPLACE FUNCTION occupancy.mark_late(dpus integer[], times timestamptz[]) RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
  -- a mark a day: a batch that reaches far back does not have all between repaired
  INSERT INTO occupancy.stale (space, since, until)
  SELECT effect.space, min(late.time), max(late.time) + INTERVAL '1 microsecond'
  FROM unnest(dpus, times) AS late (dpu, time)
  JOIN occupancy.effect
    ON effect.dpu = late.dpu AND late.time >= effect.valid_from AND late.time < effect.valid_to
  GROUP BY effect.space, public.time_bucket(INTERVAL '24 hours', late.time)
$$;

COMMENT ON FUNCTION occupancy.mark_late(integer[], timestamptz[]) IS
  'Marks what aggregates do not have yet of late crossings, given by DPU and time: a range for each space touched and '
  'UTC day. In the transaction that stores them, under lock_for_writing.';
