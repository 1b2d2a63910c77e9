CREATE OR REPLACE FUNCTION occupancy.first_cuts(
  from_time timestamptz, to_time timestamptz, width interval, time_zone text, most integer
) RETURNS timestamptz[]
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM occupancy.require_width(width);
  -- Two days more than the buckets are long on the whole: clocks are put back, and a zone may skip or repeat a day.
  RETURN (occupancy.cuts(
    from_time, least(to_time, from_time + most * width + INTERVAL '2 days'), width, time_zone))[:most + 1];
END
$$;

COMMENT ON FUNCTION occupancy.first_cuts(timestamptz, timestamptz, interval, text, integer) IS
  'The cuts (see there) of the first `most` buckets only, whatever number of them there is up to to_time.';
