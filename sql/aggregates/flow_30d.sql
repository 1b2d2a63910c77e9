CREATE MATERIALIZED VIEW occupancy.flow_30d WITH (
  timescaledb.continuous,
  timescaledb.materialized_only = true,
  timescaledb.create_group_indexes = false,
  -- few, wide chunks: planning a count grows with the chunks
  timescaledb.chunk_interval = '18000 days'
) AS
SELECT
  flow_1d.space,
  public.time_bucket(INTERVAL '30 days', flow_1d.bucket) AS bucket,
  sum(flow_1d.entries)::integer AS entries,
  sum(flow_1d.exits)::integer AS exits,
  max(flow_1d.last_crossing) AS last_crossing
FROM occupancy.flow_1d
GROUP BY flow_1d.space, public.time_bucket(INTERVAL '30 days', flow_1d.bucket)
WITH NO DATA;

COMMENT ON VIEW occupancy.flow_30d IS
  'Entries, exits and the latest crossing of each space in each 30 days (counted from 2000-01-03) (UTC). Trusted before the horizon only.';

-- Counts and repairs look up ranges of one space; unique, so that nothing can be materialized twice.
-- On the materialization hypertable, because a continuous aggregate itself takes no unique index.
DO $$
BEGIN
  EXECUTE (
    SELECT format('CREATE UNIQUE INDEX flow_30d_has_one_row_per_space_and_bucket ON %I.%I '
                  '(space, bucket) INCLUDE (entries, exits, last_crossing)',
                  materialization_hypertable_schema, materialization_hypertable_name)
    FROM timescaledb_information.continuous_aggregates
    WHERE view_schema = 'occupancy' AND view_name = 'flow_30d'
  );
END
$$;
