CREATE OR REPLACE FUNCTION occupancy.entries_by_doorway(space integer, from_time timestamptz, to_time timestamptz)
RETURNS TABLE (doorway integer, entries bigint, exits bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
-- Planned at each call: only a plan made for these instants leaves out the other chunks.
SET plan_cache_mode = force_custom_plan
SET jit = off
-- Each hanging by index: the planner cannot know how narrow its time is.
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
  kept_since CONSTANT timestamptz := occupancy.first_chunk();
BEGIN
  PERFORM occupancy.require_range(from_time, to_time);
  -- A sum of what is left would look like the sum of all there was.
  IF EXISTS (
    SELECT FROM occupancy.flow_15m AS flow
    WHERE flow.space = entries_by_doorway.space
      AND flow.bucket >= public.time_bucket(INTERVAL '15 minutes', from_time)
      AND flow.bucket < least(to_time, kept_since)
  ) THEN
    RAISE EXCEPTION 'single crossings before % are no longer stored', kept_since
      USING ERRCODE = 'invalid_parameter_value', COLUMN = 'start';
  END IF;

  RETURN QUERY
  SELECT hung.doorway,
    coalesce(sum(passed.crossings) FILTER (WHERE passed.direction * hung.sign > 0), 0)::bigint,
    coalesce(sum(passed.crossings) FILTER (WHERE passed.direction * hung.sign < 0), 0)::bigint
  FROM (
    -- where each DPU hung while it touched the space
    SELECT placement.doorway, effect.dpu, effect.sign,
      greatest(effect.valid_from, placement.valid_from, from_time) AS since,
      least(effect.valid_to, placement.valid_to, to_time) AS until
    FROM occupancy.effect
    JOIN occupancy.placement ON placement.dpu = effect.dpu
      AND placement.valid_from < effect.valid_to AND placement.valid_to > effect.valid_from
      AND placement.valid_from < to_time AND placement.valid_to > from_time
    WHERE effect.space = entries_by_doorway.space AND effect.valid_from < to_time AND effect.valid_to > from_time
  ) AS hung
  LEFT JOIN LATERAL (
    SELECT crossing.direction, count(*) AS crossings
    FROM occupancy.crossing
    WHERE crossing.dpu = hung.dpu AND crossing.time >= hung.since AND crossing.time < hung.until
      -- what the planner can see, to leave out chunks
      AND crossing.time >= from_time AND crossing.time < to_time
    GROUP BY crossing.direction
  ) AS passed ON true
  GROUP BY hung.doorway;
END
$$;

COMMENT ON FUNCTION occupancy.entries_by_doorway(integer, timestamptz, timestamptz) IS
  'Entries into and exits from a space in [from_time, to_time) by doorway: each crossing at the doorway over which its '
  'DPU hung at the time. A row for each doorway that led into the space with a DPU over it. Raises '
  'invalid_parameter_value where crossings of the range are no longer stored.';
