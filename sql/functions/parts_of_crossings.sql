CREATE OR REPLACE FUNCTION occupancy.parts_of_crossings(changes text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(
    'SELECT space, bucket, time, net, (net > 0)::integer AS entries, (net < 0)::integer AS exits,
       time AS last_crossing, net * occupancy.microseconds(bucket + INTERVAL ''15 minutes'' - time) AS person_microseconds,
       net AS net_first, net AS net_high, net AS net_low
     FROM (
       SELECT space, public.time_bucket(INTERVAL ''15 minutes'', time) AS bucket, time, net FROM (%s) AS change
       -- a fence: the bucket is computed once
       OFFSET 0
     ) AS change', changes)
$$;

COMMENT ON FUNCTION occupancy.parts_of_crossings(text) IS
  'The query of the parts of 15-minute buckets (see folded), given the query of the changes: space, time, net.';
