CREATE OR REPLACE FUNCTION occupancy.series(
  spaces integer[], from_time timestamptz, to_time timestamptz, width interval,
  time_zone text DEFAULT NULL, hours text DEFAULT NULL
) RETURNS TABLE (
  space integer, bucket_start timestamptz, bucket_end timestamptz, seconds double precision,
  first bigint, last bigint, min bigint, max bigint, mean double precision, net_min bigint,
  entries bigint, exits bigint, utilization double precision, peak_utilization double precision
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  calendar record;
  cuts timestamptz[];
BEGIN
  -- here, because cuts knows no null
  PERFORM occupancy.require_range(from_time, to_time);
  PERFORM occupancy.require_width(width);
  FOR calendar IN
    SELECT coalesce(series.time_zone, space.time_zone) AS time_zone, array_agg(space.id) AS spaces
    FROM occupancy.space
    WHERE space.id = ANY (series.spaces)
    GROUP BY 1
  LOOP
    cuts := occupancy.cuts(from_time, to_time, width, calendar.time_zone);
    RETURN QUERY
    SELECT *
    FROM occupancy.series_of_cuts(calendar.spaces, cuts, occupancy.open_times(
      cuts[1], cuts[cardinality(cuts)], series.hours, calendar.time_zone));
  END LOOP;
END
$$;

COMMENT ON FUNCTION occupancy.series(integer[], timestamptz, timestamptz, interval, text, text) IS
  'How the count of spaces ran (columns: see series_of_cuts), in the calendar buckets of a width that overlap '
  '[from_time, to_time), by local time of time_zone (each space''s own, if null), during hours (see opening_hours; '
  'always, if null).';
