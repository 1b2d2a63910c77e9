CREATE MATERIALIZED VIEW occupancy.flow_1d WITH (
  timescaledb.continuous,
  timescaledb.materialized_only = true,
  timescaledb.create_group_indexes = false,
  -- few, wide chunks: planning a count grows with the chunks
  timescaledb.chunk_interval = '1800 days'
) AS
SELECT
  flow_15m.space,
  public.time_bucket(INTERVAL '1 day', flow_15m.bucket) AS bucket,
  sum(flow_15m.entries)::integer AS entries,
  sum(flow_15m.exits)::integer AS exits,
  max(flow_15m.last_crossing) AS last_crossing,
  sum(
    flow_15m.person_microseconds + (flow_15m.entries - flow_15m.exits)::numeric * occupancy.microseconds(
      public.time_bucket(INTERVAL '1 day', flow_15m.bucket) + INTERVAL '24 hours'
        - (flow_15m.bucket + INTERVAL '15 minutes')
    )
  )::bigint AS person_microseconds,
  coalesce(
    sum(flow_15m.net_first) FILTER (WHERE flow_15m.bucket = public.time_bucket(INTERVAL '1 day', flow_15m.bucket)), 0
  )::integer AS net_first,
  occupancy.highest_net(
    public.time_bucket(INTERVAL '1 day', flow_15m.bucket),
    array_agg(flow_15m.bucket),
    array_agg(flow_15m.entries - flow_15m.exits),
    array_agg(flow_15m.net_high)
  ) AS net_high,
  -occupancy.highest_net(
    public.time_bucket(INTERVAL '1 day', flow_15m.bucket),
    array_agg(flow_15m.bucket),
    array_agg(flow_15m.exits - flow_15m.entries),
    array_agg(-flow_15m.net_low)
  ) AS net_low
FROM occupancy.flow_15m
GROUP BY flow_15m.space, public.time_bucket(INTERVAL '1 day', flow_15m.bucket)
WITH NO DATA;

COMMENT ON VIEW occupancy.flow_1d IS
  'Flow of each space in each day (UTC): entries, exits, and how the net ran. Trusted before the horizon only.';
COMMENT ON COLUMN occupancy.flow_1d.person_microseconds IS
  'Integral over the bucket of the net since its start: sum of change x (bucket end - time), in microseconds.';
COMMENT ON COLUMN occupancy.flow_1d.net_first IS 'Net of the crossings at the very first instant of the bucket.';
COMMENT ON COLUMN occupancy.flow_1d.net_high IS
  'The highest net since the start of the bucket at any instant of it; crossings at one instant count together.';
COMMENT ON COLUMN occupancy.flow_1d.net_low IS
  'The lowest net since the start of the bucket at any instant of it; crossings at one instant count together.';

-- Counts, series and repairs look up ranges of one space; unique, so that nothing can be materialized twice.
-- On the materialization hypertable, because a continuous aggregate itself takes no unique index. It holds every
-- column: the rows of one space lie scattered over the table, and a series reads thousands of them.
DO $$
BEGIN
  EXECUTE (
    SELECT format('CREATE UNIQUE INDEX flow_1d_has_one_row_per_space_and_bucket ON %I.%I '
                  '(space, bucket) INCLUDE (entries, exits, last_crossing, person_microseconds, '
                  'net_first, net_high, net_low)',
                  materialization_hypertable_schema, materialization_hypertable_name)
    FROM timescaledb_information.continuous_aggregates
    WHERE view_schema = 'occupancy' AND view_name = 'flow_1d'
  );
END
$$;
