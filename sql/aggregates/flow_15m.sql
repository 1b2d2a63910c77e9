CREATE MATERIALIZED VIEW occupancy.flow_15m WITH (
  timescaledb.continuous,
  timescaledb.materialized_only = true,
  timescaledb.create_group_indexes = false,
  -- few, wide chunks, because planning a count grows with the chunks; not wider, because a chunk is compressed only
  -- after it has ended
  timescaledb.chunk_interval = '90 days'
) AS
SELECT
  effect.space,
  public.time_bucket(INTERVAL '15 minutes', crossing.time) AS bucket,
  (count(*) FILTER (WHERE crossing.direction * effect.sign > 0))::integer AS entries,
  (count(*) FILTER (WHERE crossing.direction * effect.sign < 0))::integer AS exits,
  max(crossing.time) AS last_crossing,
  sum(
    crossing.direction * effect.sign * occupancy.microseconds(
      public.time_bucket(INTERVAL '15 minutes', crossing.time) + INTERVAL '15 minutes' - crossing.time
    )
  )::bigint AS person_microseconds,
  coalesce(
    sum(crossing.direction * effect.sign)
      FILTER (WHERE crossing.time = public.time_bucket(INTERVAL '15 minutes', crossing.time)),
    0
  )::integer AS net_first,
  occupancy.highest_net(
    public.time_bucket(INTERVAL '15 minutes', crossing.time),
    array_agg(crossing.time),
    array_agg(crossing.direction * effect.sign),
    array_agg(crossing.direction * effect.sign)
  ) AS net_high,
  -occupancy.highest_net(
    public.time_bucket(INTERVAL '15 minutes', crossing.time),
    array_agg(crossing.time),
    array_agg(-crossing.direction * effect.sign),
    array_agg(-crossing.direction * effect.sign)
  ) AS net_low
FROM occupancy.crossing
JOIN occupancy.effect
  ON effect.dpu = crossing.dpu
  AND crossing.time >= effect.valid_from
  AND crossing.time < effect.valid_to
GROUP BY effect.space, public.time_bucket(INTERVAL '15 minutes', crossing.time)
WITH NO DATA;

COMMENT ON VIEW occupancy.flow_15m IS
  'Flow of each space in each 15 minutes (UTC): entries, exits, and how the net ran. Trusted before the horizon only.';
COMMENT ON COLUMN occupancy.flow_15m.person_microseconds IS
  'Integral over the bucket of the net since its start: sum of change x (bucket end - time), in microseconds.';
COMMENT ON COLUMN occupancy.flow_15m.net_first IS 'Net of the crossings at the very first instant of the bucket.';
COMMENT ON COLUMN occupancy.flow_15m.net_high IS
  'The highest net since the start of the bucket at any instant of it; crossings at one instant count together.';
COMMENT ON COLUMN occupancy.flow_15m.net_low IS
  'The lowest net since the start of the bucket at any instant of it; crossings at one instant count together.';

-- Counts, series and repairs look up ranges of one space; unique, so that nothing can be materialized twice.
-- On the materialization hypertable, because a continuous aggregate itself takes no unique index. It holds every
-- column: the rows of one space lie scattered over the table, and a series reads thousands of them.
DO $$
BEGIN
  EXECUTE (
    SELECT format('CREATE UNIQUE INDEX flow_15m_has_one_row_per_space_and_bucket ON %I.%I '
                  '(space, bucket) INCLUDE (entries, exits, last_crossing, person_microseconds, '
                  'net_first, net_high, net_low)',
                  materialization_hypertable_schema, materialization_hypertable_name)
    FROM timescaledb_information.continuous_aggregates
    WHERE view_schema = 'occupancy' AND view_name = 'flow_15m'
  );
END
$$;

ALTER MATERIALIZED VIEW occupancy.flow_15m SET (
  timescaledb.compress,
  timescaledb.compress_segmentby = 'space',
  timescaledb.compress_orderby = 'bucket'
);
