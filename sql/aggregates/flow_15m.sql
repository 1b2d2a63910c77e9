CREATE MATERIALIZED VIEW occupancy.flow_15m WITH (
  timescaledb.continuous,
  timescaledb.materialized_only = true,
  timescaledb.create_group_indexes = false,
  -- few, wide chunks: planning a count grows with the chunks
  timescaledb.chunk_interval = '360 days'
) AS
SELECT
  effect.space,
  public.time_bucket(INTERVAL '15 minutes', crossing.time) AS bucket,
  (count(*) FILTER (WHERE crossing.direction * effect.sign > 0))::integer AS entries,
  (count(*) FILTER (WHERE crossing.direction * effect.sign < 0))::integer AS exits,
  max(crossing.time) AS last_crossing
FROM occupancy.crossing
JOIN occupancy.effect
  ON effect.dpu = crossing.dpu
  AND crossing.time >= effect.valid_from
  AND crossing.time < effect.valid_to
GROUP BY effect.space, public.time_bucket(INTERVAL '15 minutes', crossing.time)
WITH NO DATA;

COMMENT ON VIEW occupancy.flow_15m IS
  'Entries, exits and the latest crossing of each space in each 15 minutes (UTC). Trusted before the horizon only.';

-- Counts and repairs look up ranges of one space; unique, so that nothing can be materialized twice.
-- On the materialization hypertable, because a continuous aggregate itself takes no unique index.
DO $$
BEGIN
  EXECUTE (
    SELECT format('CREATE UNIQUE INDEX flow_15m_has_one_row_per_space_and_bucket ON %I.%I '
                  '(space, bucket) INCLUDE (entries, exits, last_crossing)',
                  materialization_hypertable_schema, materialization_hypertable_name)
    FROM timescaledb_information.continuous_aggregates
    WHERE view_schema = 'occupancy' AND view_name = 'flow_15m'
  );
END
$$;
