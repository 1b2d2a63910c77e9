CREATE OR REPLACE FUNCTION occupancy.events_of_space(
  space integer, from_time timestamptz, to_time timestamptz,
  after_time timestamptz, after_dpu integer, after_seq bigint, most integer, newest_first boolean
) RETURNS TABLE (
  at timestamptz, dpu integer, seq bigint, direction smallint, effect smallint, doorway integer,
  received_at timestamptz
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  dpus integer[];
  from_times timestamptz[];
  to_times timestamptz[];
BEGIN
  PERFORM occupancy.require_kept(from_time);
  SELECT array_agg(effect.dpu), array_agg(greatest(effect.valid_from, events_of_space.from_time)),
    array_agg(least(effect.valid_to, events_of_space.to_time))
  INTO dpus, from_times, to_times
  FROM occupancy.effect
  WHERE effect.space = events_of_space.space
    AND effect.valid_from < events_of_space.to_time AND effect.valid_to > events_of_space.from_time;

  RETURN QUERY
  SELECT passed.at, passed.dpu, passed.seq, passed.direction, (passed.direction * effect.sign)::smallint,
    placement.doorway, passed.received_at
  FROM occupancy.crossings_page(
    dpus, from_times, to_times, after_time, after_dpu, after_seq, most, newest_first) AS passed
  JOIN occupancy.effect ON effect.dpu = passed.dpu AND effect.space = events_of_space.space
    AND effect.valid_from <= passed.at AND effect.valid_to > passed.at
  JOIN occupancy.placement ON placement.dpu = passed.dpu
    AND placement.valid_from <= passed.at AND placement.valid_to > passed.at;
END
$$;

COMMENT ON FUNCTION occupancy.events_of_space(
  integer, timestamptz, timestamptz, timestamptz, integer, bigint, integer, boolean) IS
  'A page (see crossings_page) of the crossings in [from_time, to_time) that touched a space: what each did to its count, '
  'and the doorway over which its DPU hung then. Raises invalid_parameter_value where from_time lies before the '
  'crossings that are kept.';
