CREATE OR REPLACE FUNCTION occupancy.folded(parts text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
  -- Parts at one instant count together, which the default frame of the window does. A net of 0 stands at the start of
  -- the bucket, unless a part begins there.
  SELECT format(
    'SELECT space, bucket, sum(entries), sum(exits), max(last_crossing), sum(person_microseconds),
       coalesce(sum(net_first) FILTER (WHERE time = bucket), 0),
       greatest(max(net_before + net_high), CASE WHEN min(time) > bucket THEN 0 END),
       least(min(net_before + net_low), CASE WHEN min(time) > bucket THEN 0 END)
     FROM (
       SELECT part.*,
         sum(part.net) OVER (PARTITION BY part.space, part.bucket ORDER BY part.time) - part.net AS net_before
       FROM (%s) AS part
     ) AS step
     GROUP BY space, bucket', parts)
$$;

COMMENT ON FUNCTION occupancy.folded(text) IS
  'The query that folds parts into rows of an aggregate, given the query of the parts: space, bucket, time at which '
  'the part begins, net, entries, exits, last_crossing, person_microseconds from there to the end of the bucket, '
  'net_first, net_high, net_low.';
