CREATE OR REPLACE FUNCTION occupancy.recount_at(
  space integer, at timestamptz, OUT net bigint, OUT entries bigint, OUT exits bigint, OUT last_crossing timestamptz
)
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kept_since CONSTANT timestamptz := (SELECT horizon.dropped_before FROM occupancy.horizon);
BEGIN
  IF coalesce((occupancy.latest_reset(space, at)).reset_time, '-infinity') < kept_since THEN
    RAISE EXCEPTION 'single crossings before % are no longer stored: no count that begins there can be made anew',
      kept_since USING ERRCODE = 'invalid_parameter_value', COLUMN = 'at';
  END IF;
  SELECT coalesce(base.reset_count, 0) + flow.entries - flow.exits, flow.entries, flow.exits, flow.last_crossing
  INTO net, entries, exits, last_crossing
  FROM occupancy.latest_reset(recount_at.space, recount_at.at) AS base
  CROSS JOIN LATERAL occupancy.flow_of_crossings(
    recount_at.space,
    coalesce(base.reset_time, '-infinity') + INTERVAL '1 microsecond',
    recount_at.at + INTERVAL '1 microsecond'
  ) AS flow;
END
$$;

COMMENT ON FUNCTION occupancy.recount_at(integer, timestamptz) IS
  'What count_at must answer, from the raw crossings alone. Slow over a long history: for checks. Raises '
  'invalid_parameter_value where they are no longer stored.';
