CREATE OR REPLACE FUNCTION occupancy.repair_flow(
  spaces integer[], from_times timestamptz[], to_times timestamptz[], read_before timestamptz
) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
-- Start from the ranges and look each up by index: the planner cannot know how narrow they are.
SET enable_hashjoin = off
SET enable_mergejoin = off
-- What is repaired in a compressed chunk is bounded already: the spaces and the range of one step.
SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0
AS $$
DECLARE
  first_time timestamptz := (SELECT min(t) FROM unnest(from_times) AS t);
  last_time timestamptz := (SELECT max(t) FROM unnest(to_times) AS t);
  rollup record;
BEGIN
  EXECUTE format(
    'DELETE FROM %s AS flow
     USING unnest($1, $2, $3) AS range (space, from_time, to_time)
     WHERE flow.space = range.space
       -- what is seen before the join: of a compressed chunk, only these spaces are decompressed
       AND flow.space = ANY ($1)
       AND flow.bucket >= range.from_time AND flow.bucket < range.to_time
       AND flow.bucket >= $4 AND flow.bucket < $5', occupancy.flow_table('15m'))
    USING spaces, from_times, to_times, first_time, last_time;
  EXECUTE format(
    'INSERT INTO %s
       (space, bucket, entries, exits, last_crossing, person_microseconds, net_first, net_high, net_low) %s',
    occupancy.flow_table('15m'),
    occupancy.folded(occupancy.parts_of_crossings(
      'SELECT piece.space, crossing.time, crossing.direction * piece.sign AS net
       FROM (
         SELECT range.space, effect.dpu, effect.sign,
           greatest(effect.valid_from, range.from_time) AS from_time,
           least(effect.valid_to, range.to_time) AS to_time
         FROM unnest($1, $2, $3) AS range (space, from_time, to_time)
         JOIN occupancy.effect ON effect.space = range.space
           AND effect.valid_from < range.to_time AND effect.valid_to > range.from_time
         -- a fence: the bounds of a piece must reach the index of the crossings, not filter a whole day of them
         OFFSET 0
       ) AS piece
       JOIN occupancy.crossing ON crossing.dpu = piece.dpu
         AND crossing.time >= piece.from_time AND crossing.time < piece.to_time
       WHERE crossing.time >= $4 AND crossing.time < $5'
    )))
    USING spaces, from_times, to_times, first_time, last_time;

  FOR rollup IN SELECT * FROM occupancy.rollups() LOOP
    EXECUTE format(
      'DELETE FROM %s AS flow
       USING occupancy.touched_buckets($1, $2, $3, $6, $7) AS touched
       WHERE flow.space = touched.space AND flow.bucket = touched.bucket
         AND flow.bucket >= public.time_bucket($6, $4) AND flow.bucket < $5', rollup.coarse)
      USING spaces, from_times, to_times, first_time, last_time, rollup.width, read_before;
    EXECUTE format(
      'INSERT INTO %s
         (space, bucket, entries, exits, last_crossing, person_microseconds, net_first, net_high, net_low) %s',
      rollup.coarse,
      occupancy.folded(occupancy.parts_of_buckets(
        format(
          'SELECT flow.*, touched.bucket AS coarse
           FROM occupancy.touched_buckets($1, $2, $3, $6, $7) AS touched
           JOIN %s AS flow ON flow.space = touched.space
             AND flow.bucket >= touched.bucket AND flow.bucket < touched.bucket + $6
           WHERE flow.bucket >= public.time_bucket($6, $4) AND flow.bucket < $5 + $6', rollup.fine),
        '$6', '$8'
      )))
      USING spaces, from_times, to_times, first_time, last_time, rollup.width, read_before, rollup.fine_width;
  END LOOP;
END
$$;

COMMENT ON FUNCTION occupancy.repair_flow(integer[], timestamptz[], timestamptz[], timestamptz) IS
  'Computes anew the buckets of spaces[i] in [from_times[i], to_times[i]), which are whole 15 minutes at or before '
  'read_before, and every coarser bucket that they are part of, if it has ended by read_before.';
