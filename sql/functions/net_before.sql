CREATE OR REPLACE FUNCTION occupancy.net_before(space integer, at timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  instant CONSTANT interval := '1 microsecond';
  quarter CONSTANT interval := '15 minutes';
  reset record := occupancy.latest_reset(space, at - instant);
  whole record;
  net bigint;
BEGIN
  IF public.time_bucket(quarter, at) <> at
    OR public.time_bucket(quarter, reset.reset_time) <> reset.reset_time
    OR at > (SELECT horizon.read_before FROM occupancy.horizon)
    OR EXISTS (
      SELECT FROM occupancy.stale
      WHERE stale.space = net_before.space
        AND stale.since < net_before.at AND stale.until > coalesce(reset.reset_time, '-infinity')
    )
  THEN
    RETURN (SELECT before.net FROM occupancy.nets_before(ARRAY[space], at) AS before);
  END IF;

  whole := occupancy.flow_of_buckets(space, coalesce(reset.reset_time, '-infinity'), at);
  net := coalesce(reset.reset_count, 0) + whole.entries - whole.exits;
  IF reset.reset_time IS NOT NULL THEN
    -- The bucket that begins at the reset; the crossings at that very instant were before it.
    net := net + coalesce((
      SELECT flow.entries - flow.exits - flow.net_first
      FROM occupancy.flow_15m AS flow
      WHERE flow.space = net_before.space AND flow.bucket = reset.reset_time
    ), 0);
  END IF;
  RETURN net;
END
$$;

COMMENT ON FUNCTION occupancy.net_before(integer, timestamptz) IS
  'nets_before of one space; quick at a quarter of an hour before the horizon, where whole buckets say all.';
