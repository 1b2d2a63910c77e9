CREATE OR REPLACE FUNCTION occupancy.count_at(
  space integer, at timestamptz,
  OUT net bigint, OUT count bigint, OUT entries bigint, OUT exits bigint,
  OUT since timestamptz, OUT last_crossing timestamptz,
  OUT aggregated_until timestamptz, OUT aggregated_crossings bigint, OUT tail_crossings bigint
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog
AS $$
DECLARE
  starting_count integer;
  after_time timestamptz;
  whole record;
  part record;
BEGIN
  -- STABLE: every statement in here sees the one snapshot of the calling statement, so that horizon, marks, buckets
  -- and crossings belong together.
  SELECT reset.reset_time, reset.reset_count INTO since, starting_count
    FROM occupancy.latest_reset(count_at.space, count_at.at) AS reset;
  after_time := coalesce(since, '-infinity');

  SELECT least(count_at.at, horizon.read_before, (
      SELECT min(stale.since) FROM occupancy.stale
      WHERE stale.space = count_at.space AND stale.until > after_time
    )) INTO aggregated_until
    FROM occupancy.horizon;
  whole := occupancy.whole_buckets(after_time, aggregated_until);

  entries := 0;
  exits := 0;
  FOR part IN
    SELECT flow.* FROM occupancy.flow_of_15m(count_at.space, whole.quarters_from, whole.days_from) AS flow
      WHERE whole.quarters_from < whole.days_from
    UNION ALL
    SELECT flow.* FROM occupancy.flow_of_1d(count_at.space, whole.days_from, whole.months_from) AS flow
      WHERE whole.days_from < whole.months_from
    UNION ALL
    SELECT flow.* FROM occupancy.flow_of_30d(count_at.space, whole.months_from, whole.months_to) AS flow
      WHERE whole.months_from < whole.months_to
    UNION ALL
    SELECT flow.* FROM occupancy.flow_of_1d(count_at.space, whole.months_to, whole.days_to) AS flow
      WHERE whole.months_to < whole.days_to
    UNION ALL
    SELECT flow.* FROM occupancy.flow_of_15m(count_at.space, whole.days_to, whole.quarters_to) AS flow
      WHERE whole.days_to < whole.quarters_to
  LOOP
    entries := entries + part.entries;
    exits := exits + part.exits;
    last_crossing := greatest(last_crossing, part.last_crossing);
  END LOOP;
  aggregated_crossings := entries + exits;

  FOR part IN
    -- Where there is no whole bucket, this is all of (after_time, at].
    SELECT flow.* FROM occupancy.flow_of_crossings(
        count_at.space, after_time + INTERVAL '1 microsecond',
        CASE WHEN whole.quarters_from < whole.quarters_to THEN whole.quarters_from
             ELSE count_at.at + INTERVAL '1 microsecond' END
      ) AS flow
      WHERE since IS NOT NULL OR whole.quarters_from = whole.quarters_to
    UNION ALL
    SELECT flow.* FROM occupancy.flow_of_crossings(
        count_at.space, whole.quarters_to, count_at.at + INTERVAL '1 microsecond'
      ) AS flow
      WHERE whole.quarters_from < whole.quarters_to
  LOOP
    entries := entries + part.entries;
    exits := exits + part.exits;
    last_crossing := greatest(last_crossing, part.last_crossing);
  END LOOP;
  tail_crossings := entries + exits - aggregated_crossings;

  net := coalesce(starting_count, 0) + entries - exits;
  count := greatest(net, 0);
END
$$;

COMMENT ON FUNCTION occupancy.count_at(integer, timestamptz) IS
  'People in a space at an instant: the count of the latest reset plus entries minus exits since then, up to and '
  'including the instant. From whole buckets where they are trusted, from raw crossings at the ends. '
  'aggregated_until: the instant up to which aggregates were trusted; tail_crossings: how many came from raw rows.';
