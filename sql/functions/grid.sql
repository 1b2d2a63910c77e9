CREATE OR REPLACE FUNCTION occupancy.grid(width interval)
RETURNS TABLE (time_zone text, bucket_start timestamptz, bucket_end timestamptz)
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
-- A year of hours. More than a few, so that it is scanned once and never for each space.
ROWS 10000
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  since CONSTANT timestamptz := occupancy.history_start();
  calendar text;
  cuts timestamptz[];
BEGIN
  IF since >= now() THEN
    RETURN;
  END IF;
  FOR calendar IN
    SELECT DISTINCT space.time_zone
    FROM occupancy.space
    WHERE space.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
      AND space.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible)
  LOOP
    cuts := occupancy.cuts(since, now(), width, calendar);
    RETURN QUERY SELECT calendar, unnest(cuts[: cardinality(cuts) - 1]), unnest(cuts[2 :]);
  END LOOP;
END
$$;

COMMENT ON FUNCTION occupancy.grid(interval) IS
  'The calendar buckets of a width, from the first stored data to now, in each time zone of the spaces that this session '
  'sees: for views that have a row for each space and bucket.';
