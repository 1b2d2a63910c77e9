CREATE OR REPLACE FUNCTION occupancy.materialize_flow(from_time timestamptz, to_time timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
-- Where the horizon was taken back, chunks behind it may be compressed.
SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0
AS $$
DECLARE
  rollup record;
BEGIN
  EXECUTE format('DELETE FROM %s WHERE bucket >= $1 AND bucket < $2', occupancy.flow_table('15m'))
    USING public.time_bucket('15 minutes', from_time), public.time_bucket('15 minutes', to_time);
  -- An EXECUTE is planned for its values: the plan holds the chunks of this range and no others.
  EXECUTE format(
    'INSERT INTO %s
       (space, bucket, entries, exits, last_crossing, person_microseconds, net_first, net_high, net_low) %s',
    occupancy.flow_table('15m'),
    occupancy.folded(occupancy.parts_of_crossings(
      'SELECT effect.space, crossing.time, crossing.direction * effect.sign AS net
       FROM occupancy.crossing
       JOIN occupancy.effect ON effect.dpu = crossing.dpu
         AND crossing.time >= effect.valid_from AND crossing.time < effect.valid_to
       WHERE crossing.time >= $1 AND crossing.time < $2'
    )))
    USING public.time_bucket('15 minutes', from_time), public.time_bucket('15 minutes', to_time);

  FOR rollup IN SELECT * FROM occupancy.rollups() LOOP
    EXECUTE format('DELETE FROM %s WHERE bucket >= $1 AND bucket < $2', rollup.coarse)
      USING public.time_bucket(rollup.width, from_time), public.time_bucket(rollup.width, to_time);
    EXECUTE format(
      'INSERT INTO %s
         (space, bucket, entries, exits, last_crossing, person_microseconds, net_first, net_high, net_low) %s',
      rollup.coarse,
      occupancy.folded(occupancy.parts_of_buckets(
        format(
          'SELECT flow.*, public.time_bucket($3, flow.bucket) AS coarse
           FROM %s AS flow WHERE flow.bucket >= $1 AND flow.bucket < $2', rollup.fine),
        '$3', '$4'
      )))
      USING public.time_bucket(rollup.width, from_time), public.time_bucket(rollup.width, to_time),
        rollup.width, rollup.fine_width;
  END LOOP;
END
$$;

COMMENT ON FUNCTION occupancy.materialize_flow(timestamptz, timestamptz) IS
  'Computes anew, for all spaces, the 15-minute buckets in the range and every coarser bucket that ends in it.';
