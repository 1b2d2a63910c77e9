CREATE OR REPLACE FUNCTION occupancy.pieces(
  spaces integer[], from_times timestamptz[], edges timestamptz[], widest interval,
  reset_spaces integer[], reset_times timestamptz[]
) RETURNS TABLE (space integer, level text, from_time timestamptz, to_time timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
-- Planned at each call, for as many spaces and resets as there are.
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH wanted AS (
    SELECT range.space, range.from_time, edges[cardinality(edges)] AS to_time,
      -- nothing is trusted where the horizon is before the range
      greatest(range.from_time, least(edges[cardinality(edges)], horizon.read_before)) AS trusted_to
    FROM unnest(spaces, from_times) AS range (space, from_time)
    CROSS JOIN occupancy.horizon
  ), usable AS (
    SELECT level.name, level.width, occupancy.split_buckets(edges, level.width) AS divided
    FROM (
      VALUES ('15m', INTERVAL '15 minutes'), ('1d', INTERVAL '24 hours'), ('30d', INTERVAL '720 hours')
    ) AS level (name, width)
    WHERE level.name = '15m' OR level.width <= widest
  ), hole AS (
    SELECT wanted.space, usable.name,
      public.time_bucket(usable.width, greatest(stale.since, wanted.from_time)) AS since,
      occupancy.next_bucket(usable.width, least(stale.until, wanted.to_time)) AS until
    FROM wanted
    JOIN occupancy.stale
      ON stale.space = wanted.space AND stale.since < wanted.to_time AND stale.until > wanted.from_time
    CROSS JOIN usable
    UNION ALL
    SELECT reset.space, usable.name, bucket.start, bucket.start + usable.width
    FROM unnest(reset_spaces, reset_times) AS reset (space, at)
    CROSS JOIN usable
    CROSS JOIN LATERAL (SELECT public.time_bucket(usable.width, reset.at) AS start) AS bucket
    WHERE bucket.start <> reset.at
  ), holes AS (
    SELECT hole.space, hole.name, range_agg(tstzrange(hole.since, hole.until)) AS span FROM hole GROUP BY 1, 2
  ), whole AS (
    SELECT wanted.space, usable.name,
      tstzmultirange(tstzrange(aligned.first, greatest(aligned.first, aligned.last)))
        - usable.divided - coalesce(holes.span, '{}') AS span
    FROM wanted
    CROSS JOIN usable
    CROSS JOIN LATERAL (
      SELECT occupancy.next_bucket(usable.width, wanted.from_time) AS first,
        public.time_bucket(usable.width, wanted.trusted_to) AS last
    ) AS aligned
    LEFT JOIN holes ON holes.space = wanted.space AND holes.name = usable.name
  ), by_level AS (
    SELECT wanted.space, tstzmultirange(tstzrange(wanted.from_time, wanted.to_time)) AS range,
      quarters.span AS quarters, coalesce(days.span, '{}') AS days, coalesce(months.span, '{}') AS months
    FROM wanted
    JOIN whole AS quarters ON quarters.space = wanted.space AND quarters.name = '15m'
    LEFT JOIN whole AS days ON days.space = wanted.space AND days.name = '1d'
    LEFT JOIN whole AS months ON months.space = wanted.space AND months.name = '30d'
  )
  -- each instant from the coarsest bucket that may be used
  SELECT by_level.space, piece.level, lower(piece.span), upper(piece.span)
  FROM by_level
  CROSS JOIN LATERAL (
    SELECT '30d', unnest(months)
    UNION ALL SELECT '1d', unnest(days - months)
    UNION ALL SELECT '15m', unnest(quarters - days - months)
    UNION ALL SELECT 'raw', unnest(range - quarters)
  ) AS piece (level, span);
END
$$;

COMMENT ON FUNCTION occupancy.pieces(integer[], timestamptz[], timestamptz[], interval, integer[], timestamptz[]) IS
  'How to read [from_times[i], last edge) of spaces[i]: buckets of level 30d, 1d or 15m where they are trusted, are not '
  'marked, and no edge or reset divides them; raw crossings everywhere else. A reset at the start of a bucket does not '
  'divide it. No bucket is wider than `widest`, or 15 minutes. Instants are finite.';
