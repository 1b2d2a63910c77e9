CREATE OR REPLACE FUNCTION occupancy.series_of_cuts(
  spaces integer[], cuts timestamptz[], open_times tstzmultirange
) RETURNS TABLE (
  space integer, bucket_start timestamptz, bucket_end timestamptz, seconds double precision,
  first bigint, last bigint, min bigint, max bigint, mean double precision, net_min bigint,
  entries bigint, exits bigint, utilization double precision, peak_utilization double precision
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
-- Planned at each call: for as many buckets as there are, and without the chunks that hold none of them.
SET plan_cache_mode = force_custom_plan
SET jit = off
-- a year of quarters of an hour sorted in memory
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
  instant CONSTANT interval := '1 microsecond';
  quarter CONSTANT interval := '15 minutes';
  most CONSTANT integer := 10000000;
  -- nobody knows yet how a bucket ends that has not
  until CONSTANT timestamptz := least(now(), cuts[cardinality(cuts)]);
  edges timestamptz[] := cuts[1 : width_bucket(until - instant, cuts)] || until;
  reset_spaces integer[];
  reset_times timestamptz[];
  reset_counts integer[];
  piece_spaces integer[];
  piece_levels text[];
  piece_from_times timestamptz[];
  piece_to_times timestamptz[];
  whole_spaces integer[];
  whole_from_times timestamptz[];
  whole_to_times timestamptz[];
  undivided boolean;
  quarters boolean;
BEGIN
  IF cuts[1] >= until THEN
    RETURN;
  END IF;
  IF open_times IS NOT NULL THEN
    edges := ARRAY(
      SELECT DISTINCT edge.at
      FROM (
        SELECT unnest(edges)
        UNION ALL SELECT lower(span) FROM unnest(open_times) AS span
        UNION ALL SELECT upper(span) FROM unnest(open_times) AS span
      ) AS edge (at)
      WHERE edge.at >= cuts[1] AND edge.at <= until
      ORDER BY edge.at
    );
  END IF;
  -- The edges of each space and a daily reset a day: what all of this takes time and memory for.
  IF cardinality(edges)::bigint * cardinality(spaces) + date_part('epoch', until - cuts[1]) / 86400 * (
      SELECT count(*) FROM occupancy.space WHERE space.id = ANY (spaces) AND space.reset_at IS NOT NULL
    ) > most
  THEN
    RAISE EXCEPTION 'this range has more than % buckets, openings and daily resets of these spaces: ask for a part of '
      'it at a time, or for fewer spaces', most USING ERRCODE = 'invalid_parameter_value', COLUMN = 'start';
  END IF;
  SELECT array_agg(reset.space), array_agg(reset.at), array_agg(reset.count)
  INTO reset_spaces, reset_times, reset_counts
  FROM occupancy.resets_between(spaces, cuts[1], until) AS reset;
  undivided := open_times IS NULL AND reset_times IS NULL;
  -- Then a row of flow_15m is all there is to a bucket, and need not be folded.
  quarters := undivided AND public.time_bucket(quarter, cuts[1]) = cuts[1]
    AND cuts[cardinality(cuts)] - cuts[1] = (cardinality(cuts) - 1) * quarter;
  SELECT array_agg(piece.space) FILTER (WHERE NOT taken_whole), array_agg(piece.level) FILTER (WHERE NOT taken_whole),
    array_agg(piece.from_time) FILTER (WHERE NOT taken_whole), array_agg(piece.to_time) FILTER (WHERE NOT taken_whole),
    array_agg(piece.space) FILTER (WHERE taken_whole),
    array_agg(piece.from_time) FILTER (WHERE taken_whole), array_agg(piece.to_time) FILTER (WHERE taken_whole)
  INTO piece_spaces, piece_levels, piece_from_times, piece_to_times, whole_spaces, whole_from_times, whole_to_times
  FROM occupancy.pieces(
    spaces, array_fill(edges[1], ARRAY[cardinality(spaces)]),
    CASE WHEN quarters THEN ARRAY[edges[1], until] ELSE edges END,
    -- Where edges lie closer on the whole, few wider buckets fit in between.
    CASE WHEN quarters THEN quarter ELSE (until - edges[1]) / (cardinality(edges) - 1) END,
    reset_spaces, reset_times
  ) AS piece
  CROSS JOIN LATERAL (SELECT quarters AND piece.level = '15m' AS taken_whole) AS taken;

  PERFORM occupancy.require_crossings(piece_spaces, piece_levels, piece_from_times, piece_to_times);

  RETURN QUERY
  WITH epochs AS (
    SELECT reset.space, array_agg(reset.at ORDER BY reset.at) AS starts,
      array_agg(reset.count ORDER BY reset.at) AS counts
    FROM unnest(reset_spaces, reset_times, reset_counts) AS reset (space, at, count)
    GROUP BY reset.space
  ), placed AS (
    SELECT part.*, part.entries - part.exits AS net,
      greatest(edges[place.segment], epochs.starts[place.epoch]) AS start,
      least(edges[place.segment + 1], epochs.starts[place.epoch + 1]) AS segment_end
    FROM occupancy.parts(piece_spaces, piece_levels, piece_from_times, piece_to_times) AS part
    LEFT JOIN epochs ON epochs.space = part.space
    CROSS JOIN LATERAL (
      SELECT width_bucket(part.at, edges) AS segment, coalesce(width_bucket(part.at, epochs.starts), 0) AS epoch
      OFFSET 0
    ) AS place
  ), running AS (
    -- parts at one instant count together, which the default frame of the window does
    SELECT placed.*,
      sum(placed.net) OVER (PARTITION BY placed.space, placed.start ORDER BY placed.at) - placed.net AS net_before
    FROM placed
  ), flow AS (
    SELECT running.space, running.start, sum(running.entries) AS entries, sum(running.exits) AS exits,
      -- an integer again: running sums of a bigint are slow numerics
      sum(running.net)::integer AS net,
      sum(running.person_seconds + running.net * date_part('epoch', running.segment_end - running.until))
        AS person_seconds,
      coalesce(sum(running.net_first) FILTER (WHERE running.at = running.start), 0)::integer AS net_first,
      greatest(max(running.net_before + running.net_high), CASE WHEN min(running.at) > running.start THEN 0 END)
        AS high,
      least(min(running.net_before + running.net_low), CASE WHEN min(running.at) > running.start THEN 0 END) AS low
    FROM running
    GROUP BY running.space, running.start
    UNION ALL
    SELECT flow.space, flow.bucket, flow.entries, flow.exits, flow.entries - flow.exits,
      flow.person_microseconds::float8 / 1e6, flow.net_first, flow.net_high, flow.net_low
    FROM unnest(whole_spaces, whole_from_times, whole_to_times) AS whole (space, from_time, to_time)
    JOIN occupancy.flow_15m AS flow
      ON flow.space = whole.space AND flow.bucket >= whole.from_time AND flow.bucket < whole.to_time
    WHERE quarters AND flow.bucket >= edges[1] AND flow.bucket < until
  ), segment AS (
    SELECT wanted.space, edge.start, edges[edge.number + 1] AS segment_end, 0 AS epoch, NULL::integer AS stated
    FROM unnest(spaces) AS wanted (space)
    CROSS JOIN unnest(edges[:cardinality(edges) - 1]) WITH ORDINALITY AS edge (start, number)
    WHERE undivided
    UNION ALL
    SELECT opened.space, opened.start,
      lead(opened.start, 1, until) OVER (PARTITION BY opened.space ORDER BY opened.start),
      place.epoch, epochs.counts[place.epoch]
    FROM (
      SELECT wanted.space, edge.start
      FROM unnest(spaces) AS wanted (space)
      CROSS JOIN unnest(edges[:cardinality(edges) - 1]) AS edge (start)
      UNION
      SELECT * FROM unnest(reset_spaces, reset_times)
    ) AS opened
    LEFT JOIN epochs ON epochs.space = opened.space
    CROSS JOIN LATERAL (SELECT coalesce(width_bucket(opened.start, epochs.starts), 0) AS epoch) AS place
    WHERE NOT undivided
  ), course AS NOT MATERIALIZED (
    SELECT segment.space, segment.start, segment.segment_end, coalesce(flow.net_first, 0) AS net_first,
      coalesce(flow.entries, 0) AS entries, coalesce(flow.exits, 0) AS exits, coalesce(flow.net, 0) AS net,
      coalesce(flow.person_seconds, 0) AS person_seconds,
      coalesce(flow.high, 0) AS high, coalesce(flow.low, 0) AS low,
      -- The net just before the segment; after a reset, such that the crossings at its very instant lead to its count.
      first_value(coalesce(segment.stated - coalesce(flow.net_first, 0), base.net)) OVER epoch
        + sum(coalesce(flow.net, 0)) OVER epoch - coalesce(flow.net, 0) AS before,
      date_part('epoch', segment.segment_end - segment.start) AS seconds
    FROM segment
    LEFT JOIN occupancy.nets_before(spaces, edges[1]) AS base ON base.space = segment.space
    -- Every flow has its segment. FULL, because it is never done by a nested loop, however few rows are expected.
    FULL JOIN flow ON flow.space = segment.space AND flow.start = segment.start
    WINDOW epoch AS (PARTITION BY segment.space, segment.epoch ORDER BY segment.start)
  ), net (
    space, bucket_start, bucket_end, seconds, first, last, min, max, mean, entries, exits
  ) AS NOT MATERIALIZED (
    SELECT course.space, course.start,
      -- of a bucket that has not ended, its end nevertheless
      CASE WHEN course.segment_end = until THEN cuts[cardinality(edges)] ELSE course.segment_end END,
      course.seconds, before + net_first, before + net, before + low, before + high,
      before + person_seconds / course.seconds, course.entries::bigint, course.exits::bigint
    FROM course
    WHERE undivided
    UNION ALL
    SELECT divided.space, cuts[divided.bucket], cuts[divided.bucket + 1], sum(divided.seconds),
      (array_agg(before + net_first ORDER BY divided.start))[1],
      (array_agg(before + net ORDER BY divided.start DESC))[1],
      min(before + low), max(before + high), sum(before * divided.seconds + person_seconds) / sum(divided.seconds),
      sum(divided.entries)::bigint, sum(divided.exits)::bigint
    FROM (
      SELECT course.*, width_bucket(course.start, cuts) AS bucket
      FROM course
      WHERE NOT undivided AND (open_times IS NULL OR open_times @> course.start)
    ) AS divided
    GROUP BY divided.space, divided.bucket
  )
  -- a count is never below 0
  SELECT net.space, net.bucket_start, net.bucket_end, net.seconds, greatest(net.first, 0), greatest(net.last, 0),
    greatest(net.min, 0), greatest(net.max, 0), greatest(net.mean, 0), net.min, net.entries, net.exits,
    greatest(net.mean, 0) / limits.people, greatest(net.max, 0) / limits.people
  FROM net
  JOIN (
    SELECT space.id, nullif(space.capacity, 0)::float8 AS people
    FROM occupancy.space
    WHERE space.id = ANY (spaces)
  ) AS limits ON limits.id = net.space;
END
$$;

COMMENT ON FUNCTION occupancy.series_of_cuts(integer[], timestamptz[], tstzmultirange) IS
  'How the count of spaces ran in the buckets between successive cuts: at the start (as count_at has it), just before '
  'the end, the lowest and the highest at any instant, the mean of the net over time, never below 0; net_min: the lowest '
  'net, below 0 where sensors have missed people; the entries and exits; mean and max over the capacity, null without '
  'one. With open_times: while it was open only, and no bucket in which it never was. seconds: for how long it was '
  'looked at; less than the bucket also if that has not ended. Buckets that have not begun are left out.';
