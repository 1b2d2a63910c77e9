CREATE OR REPLACE FUNCTION occupancy.clock_cuts(
  day_start timestamptz, day_end timestamptz, width interval, time_zone text
) RETURNS timestamptz[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  -- Clocks are put forward or back once in such a day: every cut lies on the grid of the clock before or after it.
  SELECT array_agg(cut.at ORDER BY cut.at)
  FROM (
    SELECT day_start AS at
    UNION
    SELECT min(shown.at)
    FROM (
      SELECT generate_series(day_start, day_end - INTERVAL '1 microsecond', width)
      UNION
      SELECT generate_series(day_end - width, day_start, -width)
    ) AS grid (at)
    CROSS JOIN LATERAL (SELECT grid.at, grid.at AT TIME ZONE time_zone AS local) AS shown
    WHERE (extract(epoch FROM shown.local) % extract(epoch FROM width)) = 0
    -- A time that clocks show twice begins two buckets of an hour or less, but one longer bucket.
    GROUP BY shown.local, CASE WHEN width <= INTERVAL '1 hour' THEN shown.at END
  ) AS cut
$$;

COMMENT ON FUNCTION occupancy.clock_cuts(timestamptz, timestamptz, interval, text) IS
  'Where buckets of a width below a day begin in the local day [day_start, day_end) in which clocks are changed: when '
  'they show a multiple of the width.';
