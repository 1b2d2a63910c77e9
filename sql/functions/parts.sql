CREATE OR REPLACE FUNCTION occupancy.parts(
  spaces integer[], levels text[], from_times timestamptz[], to_times timestamptz[]
) RETURNS TABLE (
  space integer, at timestamptz, until timestamptz, entries integer, exits integer,
  person_seconds double precision, net_first integer, net_high integer, net_low integer
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
-- Planned at each call: for as many pieces as there are, and without the chunks that hold none of them.
SET plan_cache_mode = force_custom_plan
SET jit = off
-- Start from the pieces and look each up by index: the planner cannot know how narrow they are.
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
  level record;
BEGIN
  FOR level IN
    SELECT piece.level AS name, min(piece.from_time) AS first_time, max(piece.to_time) AS last_time
    FROM unnest(levels, from_times, to_times) AS piece (level, from_time, to_time)
    GROUP BY piece.level
  LOOP
    IF level.name = '15m' THEN
      RETURN QUERY
      SELECT flow.space, flow.bucket, flow.bucket + INTERVAL '15 minutes', flow.entries, flow.exits,
        flow.person_microseconds::float8 / 1e6, flow.net_first, flow.net_high, flow.net_low
      FROM unnest(spaces, levels, from_times, to_times) AS piece (space, level, from_time, to_time)
      JOIN occupancy.flow_15m AS flow
        ON flow.space = piece.space AND flow.bucket >= piece.from_time AND flow.bucket < piece.to_time
      WHERE piece.level = '15m' AND flow.bucket >= level.first_time AND flow.bucket < level.last_time;
    ELSIF level.name = '1d' THEN
      RETURN QUERY
      SELECT flow.space, flow.bucket, flow.bucket + INTERVAL '24 hours', flow.entries, flow.exits,
        flow.person_microseconds::float8 / 1e6, flow.net_first, flow.net_high, flow.net_low
      FROM unnest(spaces, levels, from_times, to_times) AS piece (space, level, from_time, to_time)
      JOIN occupancy.flow_1d AS flow
        ON flow.space = piece.space AND flow.bucket >= piece.from_time AND flow.bucket < piece.to_time
      WHERE piece.level = '1d' AND flow.bucket >= level.first_time AND flow.bucket < level.last_time;
    ELSIF level.name = '30d' THEN
      RETURN QUERY
      SELECT flow.space, flow.bucket, flow.bucket + INTERVAL '720 hours', flow.entries, flow.exits,
        flow.person_microseconds::float8 / 1e6, flow.net_first, flow.net_high, flow.net_low
      FROM unnest(spaces, levels, from_times, to_times) AS piece (space, level, from_time, to_time)
      JOIN occupancy.flow_30d AS flow
        ON flow.space = piece.space AND flow.bucket >= piece.from_time AND flow.bucket < piece.to_time
      WHERE piece.level = '30d' AND flow.bucket >= level.first_time AND flow.bucket < level.last_time;
    ELSE
      RETURN QUERY
      SELECT change.space, change.time, change.time, (change.net > 0)::integer, (change.net < 0)::integer,
        0::float8, change.net, change.net, change.net
      FROM (
        SELECT bounded.space, crossing.time, (crossing.direction * bounded.sign)::integer AS net
        FROM (
          SELECT piece.space, effect.dpu, effect.sign,
            greatest(effect.valid_from, piece.from_time) AS from_time,
            least(effect.valid_to, piece.to_time) AS to_time
          FROM unnest(spaces, levels, from_times, to_times) AS piece (space, level, from_time, to_time)
          JOIN occupancy.effect ON effect.space = piece.space
            AND effect.valid_from < piece.to_time AND effect.valid_to > piece.from_time
          WHERE piece.level = 'raw'
          -- a fence: the bounds must reach the index of the crossings
          OFFSET 0
        ) AS bounded
        JOIN occupancy.crossing ON crossing.dpu = bounded.dpu
          AND crossing.time >= bounded.from_time AND crossing.time < bounded.to_time
        WHERE crossing.time >= level.first_time AND crossing.time < level.last_time
      ) AS change;
    END IF;
  END LOOP;
END
$$;

COMMENT ON FUNCTION occupancy.parts(integer[], text[], timestamptz[], timestamptz[]) IS
  'What pieces (see there) hold: the rows of aggregates and, in raw ones, the crossings. Each with the instants at '
  'which it begins and from which on it says nothing more, and person_seconds up to there.';
