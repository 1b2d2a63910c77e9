CREATE OR REPLACE FUNCTION occupancy.split_buckets(cuts timestamptz[], width interval) RETURNS tstzmultirange
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(range_agg(tstzrange(part.bucket, part.bucket + width)), '{}')
  FROM (
    SELECT cut, public.time_bucket(width, cut) AS bucket FROM unnest(cuts) AS cut
  ) AS part
  WHERE part.bucket <> part.cut
$$;

COMMENT ON FUNCTION occupancy.split_buckets(timestamptz[], interval) IS
  'The buckets of a width that a cut divides: their rows say nothing about the parts.';
