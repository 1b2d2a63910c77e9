CREATE OR REPLACE FUNCTION occupancy.flow_of_crossings(
  space integer, from_time timestamptz, to_time timestamptz,
  OUT entries bigint, OUT exits bigint, OUT last_crossing timestamptz
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog
-- Planned at each call: only a plan made for these instants leaves out the other chunks.
SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
  SELECT
    count(*) FILTER (WHERE crossing.direction * effect.sign > 0),
    count(*) FILTER (WHERE crossing.direction * effect.sign < 0),
    max(crossing.time)
    INTO entries, exits, last_crossing
  FROM occupancy.effect
  JOIN occupancy.crossing
    ON crossing.dpu = effect.dpu
    AND crossing.time >= effect.valid_from
    AND crossing.time < effect.valid_to
  WHERE effect.space = flow_of_crossings.space
    AND crossing.time >= flow_of_crossings.from_time
    AND crossing.time < flow_of_crossings.to_time;
END
$$;

COMMENT ON FUNCTION occupancy.flow_of_crossings(integer, timestamptz, timestamptz) IS
  'Entries, exits and the latest crossing of a space in [from_time, to_time), from the raw crossings.';
