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
