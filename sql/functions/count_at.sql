CREATE OR REPLACE FUNCTION occupancy.count_at(
  space integer, at timestamptz,
  OUT net bigint, OUT count bigint, OUT entries bigint, OUT exits bigint,
  OUT since timestamptz, OUT last_crossing timestamptz,
  OUT aggregated_until timestamptz, OUT aggregated_crossings bigint, OUT tail_crossings bigint
)
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- a range of the raw crossings is [from, to); the one asked for is (after_time, at]
  instant CONSTANT interval := '1 microsecond';
  reset record := occupancy.latest_reset(space, at);
  after_time timestamptz := coalesce(reset.reset_time, '-infinity');
  kept_since timestamptz;
  whole record;
  head record;
  tail record;
BEGIN
  -- STABLE: every statement in here sees the one snapshot of the calling statement, so that horizon, marks, buckets
  -- and crossings belong together.
  SELECT least(count_at.at, horizon.read_before, (
      SELECT min(stale.since) FROM occupancy.stale
      WHERE stale.space = count_at.space AND stale.until > after_time
    )), horizon.dropped_before
    INTO aggregated_until, kept_since
    FROM occupancy.horizon;
  whole := occupancy.flow_of_buckets(space, after_time, aggregated_until);

  entries := whole.entries;
  exits := whole.exits;
  last_crossing := whole.last_crossing;
  IF whole.covered_from = whole.covered_to THEN
    IF after_time < kept_since THEN
      tail := occupancy.flow_of_dropped(space, after_time + instant, at + instant);
    ELSE
      tail := occupancy.flow_of_crossings(space, after_time + instant, at + instant);
    END IF;
  ELSE
    IF after_time + instant < whole.covered_from THEN
      IF after_time < kept_since THEN
        head := occupancy.flow_of_dropped(space, after_time + instant, whole.covered_from);
      ELSE
        head := occupancy.flow_of_crossings(space, after_time + instant, whole.covered_from);
      END IF;
      entries := entries + head.entries;
      exits := exits + head.exits;
      last_crossing := greatest(last_crossing, head.last_crossing);
    END IF;
    IF whole.covered_to >= occupancy.recent_since() THEN
      tail := occupancy.flow_of_recent_crossings(space, whole.covered_to, at + instant);
    ELSIF whole.covered_to < kept_since THEN
      tail := occupancy.flow_of_dropped(space, whole.covered_to, at + instant);
    ELSE
      tail := occupancy.flow_of_crossings(space, whole.covered_to, at + instant);
    END IF;
  END IF;
  entries := entries + tail.entries;
  exits := exits + tail.exits;
  last_crossing := greatest(last_crossing, tail.last_crossing);

  since := reset.reset_time;
  net := coalesce(reset.reset_count, 0) + entries - exits;
  count := greatest(net, 0);
  aggregated_crossings := whole.entries + whole.exits;
  tail_crossings := entries + exits - aggregated_crossings;
END
$$;

COMMENT ON FUNCTION occupancy.count_at(integer, timestamptz) IS
  'People in a space at an instant: the count of the latest reset plus entries minus exits since then, up to and '
  'including the instant. From whole buckets where they are trusted, from raw crossings at the ends. '
  'aggregated_until: the instant up to which aggregates were trusted; tail_crossings: how many came from raw rows. Where those are no longer '
  'stored: known at quarters of an hour (UTC); raises invalid_parameter_value elsewhere.';
