CREATE OR REPLACE FUNCTION occupancy.latest_reset(
  space integer, at timestamptz, OUT reset_time timestamptz, OUT reset_count integer
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog
AS $$
DECLARE
  daily timestamptz;
BEGIN
  SELECT reset.at, reset.count INTO reset_time, reset_count
  FROM occupancy.reset
  WHERE reset.space = latest_reset.space AND reset.at <= latest_reset.at
  ORDER BY reset.at DESC
  LIMIT 1;

  SELECT occupancy.latest_daily_reset(space.reset_at, space.time_zone, latest_reset.at) INTO daily
  FROM occupancy.space
  WHERE space.id = latest_reset.space AND space.reset_at IS NOT NULL;

  -- A statement about the very instant says more than the rule.
  IF daily > coalesce(reset_time, '-infinity') THEN
    reset_time := daily;
    reset_count := 0;
  END IF;
END
$$;

COMMENT ON FUNCTION occupancy.latest_reset(integer, timestamptz) IS
  'The reset that holds for a space at an instant, by statement or by the daily rule; nulls where there is none.';
