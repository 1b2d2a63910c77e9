CREATE OR REPLACE FUNCTION occupancy.latest_reset(
  space integer, at timestamptz, OUT reset_time timestamptz, OUT reset_count integer
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  reset_at time;
  time_zone text;
  daily timestamptz;
BEGIN
  SELECT stated.at, stated.count, rule.reset_at, rule.time_zone INTO reset_time, reset_count, reset_at, time_zone
  FROM occupancy.space AS rule
  LEFT JOIN LATERAL (
    SELECT reset.at, reset.count
    FROM occupancy.reset
    WHERE reset.space = latest_reset.space AND reset.at <= latest_reset.at
    ORDER BY reset.at DESC
    LIMIT 1
  ) AS stated ON true
  WHERE rule.id = latest_reset.space;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no space %', latest_reset.space USING ERRCODE = 'no_data_found';
  END IF;

  IF reset_at IS NOT NULL THEN
    daily := occupancy.latest_daily_reset(reset_at, time_zone, latest_reset.at);
    -- A statement about the very instant says more than the rule.
    IF daily > coalesce(reset_time, '-infinity') THEN
      reset_time := daily;
      reset_count := 0;
    END IF;
  END IF;
END
$$;

COMMENT ON FUNCTION occupancy.latest_reset(integer, timestamptz) IS
  'The reset that holds for a space at an instant, by statement or by the daily rule; nulls where there is none.';
