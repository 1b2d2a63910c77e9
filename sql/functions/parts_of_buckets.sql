CREATE OR REPLACE FUNCTION occupancy.parts_of_buckets(rows text, width text, fine_width text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format(
    'SELECT space, coarse AS bucket, bucket AS time, entries - exits AS net, entries, exits, last_crossing,
       person_microseconds + (entries - exits)::numeric
         * occupancy.microseconds(coarse + %s - (bucket + %s)) AS person_microseconds,
       net_first, net_high, net_low
     FROM (%s) AS fine', width, fine_width, rows)
$$;

COMMENT ON FUNCTION occupancy.parts_of_buckets(text, text, text) IS
  'The query of the parts of coarser buckets (see folded), given the query of the rows of the level below, with '
  'coarse, the start of the coarser bucket; and expressions for the widths of the coarser and the finer buckets.';
