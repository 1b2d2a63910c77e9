CREATE OR REPLACE FUNCTION occupancy.totals(
  spaces integer[], from_time timestamptz, to_time timestamptz,
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
BEGIN
  PERFORM occupancy.require_range(from_time, to_time);
  FOR calendar IN
    -- without opening hours no calendar matters, and all spaces are read in one go
    SELECT CASE WHEN totals.hours IS NOT NULL THEN coalesce(totals.time_zone, space.time_zone) END AS time_zone,
      array_agg(space.id) AS spaces
    FROM occupancy.space
    WHERE space.id = ANY (totals.spaces)
    GROUP BY 1
  LOOP
    RETURN QUERY
    SELECT *
    FROM occupancy.series_of_cuts(calendar.spaces, ARRAY[from_time, to_time], occupancy.open_times(
      from_time, to_time, totals.hours, calendar.time_zone));
  END LOOP;
END
$$;

COMMENT ON FUNCTION occupancy.totals(integer[], timestamptz, timestamptz, text, text) IS
  'How the count of spaces ran in [from_time, to_time), taken as one bucket: the columns of series. With hours (see '
  'opening_hours): while it was open by local time of time_zone (each space''s own, if null); no row, if it never was.';
