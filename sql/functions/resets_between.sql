CREATE OR REPLACE FUNCTION occupancy.resets_between(spaces integer[], from_time timestamptz, to_time timestamptz)
RETURNS TABLE (space integer, at timestamptz, count integer)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT reset.space, reset.at, reset.count
  FROM occupancy.reset
  WHERE reset.space = ANY (spaces) AND reset.at >= from_time AND reset.at < to_time
  UNION ALL
  SELECT DISTINCT rule.id, daily.at, 0
  FROM occupancy.space AS rule
  CROSS JOIN generate_series(
    -- two days back, because a zone may have skipped one (see latest_daily_reset)
    (from_time AT TIME ZONE 'UTC')::date::timestamp - INTERVAL '3 days',
    (to_time AT TIME ZONE 'UTC')::date::timestamp + INTERVAL '2 days',
    INTERVAL '1 day'
  ) AS d
  CROSS JOIN LATERAL (SELECT (d + rule.reset_at) AT TIME ZONE rule.time_zone AS at) AS daily
  WHERE rule.id = ANY (spaces) AND rule.reset_at IS NOT NULL
    AND daily.at >= from_time AND daily.at < to_time
    -- A statement about the very instant says more than the rule.
    AND NOT EXISTS (SELECT FROM occupancy.reset WHERE reset.space = rule.id AND reset.at = daily.at)
$$;

COMMENT ON FUNCTION occupancy.resets_between(integer[], timestamptz, timestamptz) IS
  'The resets of spaces at instants in [from_time, to_time), by statement or by the daily rule.';
