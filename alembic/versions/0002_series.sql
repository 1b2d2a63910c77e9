DROP MATERIALIZED VIEW occupancy.flow_30d;
DROP MATERIALIZED VIEW occupancy.flow_1d;
DROP MATERIALIZED VIEW occupancy.flow_15m;
-- their results change; migrating defines them anew (an empty database has none yet)
DROP FUNCTION IF EXISTS occupancy.check_flow(timestamptz, timestamptz);
DROP FUNCTION IF EXISTS occupancy.rollups();

CREATE OR REPLACE FUNCTION occupancy.microseconds(span interval) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
-- exact for what two instants differ by: below 285 years a double holds every microsecond
RETURN (date_part('epoch', span) * 1000000)::bigint;

COMMENT ON FUNCTION occupancy.microseconds(interval) IS
  'The length of what two instants differ by, in microseconds. Used by the definitions of the aggregates.';

CREATE OR REPLACE FUNCTION occupancy.highest_net(
  first_instant timestamptz, times timestamptz[], nets integer[], highs integer[]
) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
  -- Parts at one instant count together, which the default frame of the window does. 0 stands at the first instant,
  -- unless a part begins there.
  SELECT greatest(max(step.net_before + step.high), CASE WHEN min(step.time) > first_instant THEN 0 END)
  FROM (
    SELECT part.time, part.high, sum(part.net) OVER (ORDER BY part.time) - part.net AS net_before
    FROM unnest(times, nets, highs) AS part (time, net, high)
  ) AS step
$$;

COMMENT ON FUNCTION occupancy.highest_net(timestamptz, timestamptz[], integer[], integer[]) IS
  'The highest net since first_instant at any instant of a bucket that is made of parts, each with its net and its own '
  'highest net. The lowest follows from the negated arrays. Used by the definitions of the aggregates.';

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
  max(flow_1d.last_crossing) AS last_crossing,
  sum(
    flow_1d.person_microseconds + (flow_1d.entries - flow_1d.exits)::numeric * occupancy.microseconds(
      public.time_bucket(INTERVAL '30 days', flow_1d.bucket) + INTERVAL '720 hours'
        - (flow_1d.bucket + INTERVAL '24 hours')
    )
  ) AS person_microseconds,
  coalesce(
    sum(flow_1d.net_first) FILTER (WHERE flow_1d.bucket = public.time_bucket(INTERVAL '30 days', flow_1d.bucket)), 0
  )::integer AS net_first,
  occupancy.highest_net(
    public.time_bucket(INTERVAL '30 days', flow_1d.bucket),
    array_agg(flow_1d.bucket),
    array_agg(flow_1d.entries - flow_1d.exits),
    array_agg(flow_1d.net_high)
  ) AS net_high,
  -occupancy.highest_net(
    public.time_bucket(INTERVAL '30 days', flow_1d.bucket),
    array_agg(flow_1d.bucket),
    array_agg(flow_1d.exits - flow_1d.entries),
    array_agg(-flow_1d.net_low)
  ) AS net_low
FROM occupancy.flow_1d
GROUP BY flow_1d.space, public.time_bucket(INTERVAL '30 days', flow_1d.bucket)
WITH NO DATA;

COMMENT ON VIEW occupancy.flow_30d IS
  'Flow of each space in each 30 days (counted from 2000-01-03) (UTC): entries, exits, and how the net ran. Trusted before the horizon only.';
COMMENT ON COLUMN occupancy.flow_30d.person_microseconds IS
  'Integral over the bucket of the net since its start: sum of change x (bucket end - time), in microseconds.';
COMMENT ON COLUMN occupancy.flow_30d.net_first IS 'Net of the crossings at the very first instant of the bucket.';
COMMENT ON COLUMN occupancy.flow_30d.net_high IS
  'The highest net since the start of the bucket at any instant of it; crossings at one instant count together.';
COMMENT ON COLUMN occupancy.flow_30d.net_low IS
  'The lowest net since the start of the bucket at any instant of it; crossings at one instant count together.';

-- Counts, series and repairs look up ranges of one space; unique, so that nothing can be materialized twice.
-- On the materialization hypertable, because a continuous aggregate itself takes no unique index. It holds every
-- column: the rows of one space lie scattered over the table, and a series reads thousands of them.
DO $$
BEGIN
  EXECUTE (
    SELECT format('CREATE UNIQUE INDEX flow_30d_has_one_row_per_space_and_bucket ON %I.%I '
                  '(space, bucket) INCLUDE (entries, exits, last_crossing, person_microseconds, '
                  'net_first, net_high, net_low)',
                  materialization_hypertable_schema, materialization_hypertable_name)
    FROM timescaledb_information.continuous_aggregates
    WHERE view_schema = 'occupancy' AND view_name = 'flow_30d'
  );
END
$$;

-- Nothing is aggregated any more.
UPDATE occupancy.horizon SET read_before = '-infinity', write_before = '-infinity';

CREATE SCHEMA IF NOT EXISTS bi;

COMMENT ON SCHEMA bi IS
  'For BI tools: views and functions in the words of the documentation, exact as the API. Nothing else may be read.';

CREATE TABLE occupancy.bi_login (
  login        name NOT NULL,
  organization integer NOT NULL,
  CONSTRAINT bi_login_pkey PRIMARY KEY (login),
  CONSTRAINT bi_login_has_an_organization FOREIGN KEY (organization) REFERENCES occupancy.organization (id)
);

COMMENT ON TABLE occupancy.bi_login IS
  'Whose rows a login of the database sees in schema bi: those of one organization. No row: none.';
