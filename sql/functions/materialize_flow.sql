CREATE OR REPLACE FUNCTION occupancy.materialize_flow(from_time timestamptz, to_time timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog
AS $$
DECLARE
  rollup record;
BEGIN
  EXECUTE format('DELETE FROM %s WHERE bucket >= $1 AND bucket < $2', occupancy.flow_table('15m'))
    USING public.time_bucket('15 minutes', from_time), public.time_bucket('15 minutes', to_time);
  -- An EXECUTE is planned for its values: the plan holds the chunks of this range and no others.
  EXECUTE format(
    'INSERT INTO %s (space, bucket, entries, exits, last_crossing)
     SELECT effect.space, public.time_bucket(INTERVAL ''15 minutes'', crossing.time),
       count(*) FILTER (WHERE crossing.direction * effect.sign > 0),
       count(*) FILTER (WHERE crossing.direction * effect.sign < 0),
       max(crossing.time)
     FROM occupancy.crossing
     JOIN occupancy.effect ON effect.dpu = crossing.dpu
       AND crossing.time >= effect.valid_from AND crossing.time < effect.valid_to
     WHERE crossing.time >= $1 AND crossing.time < $2
     GROUP BY 1, 2', occupancy.flow_table('15m'))
    USING public.time_bucket('15 minutes', from_time), public.time_bucket('15 minutes', to_time);

  FOR rollup IN SELECT * FROM occupancy.rollups() LOOP
    EXECUTE format('DELETE FROM %s WHERE bucket >= $1 AND bucket < $2', rollup.coarse)
      USING public.time_bucket(rollup.width, from_time), public.time_bucket(rollup.width, to_time);
    EXECUTE format(
      'INSERT INTO %s (space, bucket, entries, exits, last_crossing)
       SELECT space, public.time_bucket($3, bucket), sum(entries), sum(exits), max(last_crossing)
       FROM %s
       WHERE bucket >= $1 AND bucket < $2
       GROUP BY 1, 2', rollup.coarse, rollup.fine)
      USING public.time_bucket(rollup.width, from_time), public.time_bucket(rollup.width, to_time), rollup.width;
  END LOOP;
END
$$;

COMMENT ON FUNCTION occupancy.materialize_flow(timestamptz, timestamptz) IS
  'Computes anew, for all spaces, the 15-minute buckets in the range and every coarser bucket that ends in it.';
