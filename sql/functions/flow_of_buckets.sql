CREATE OR REPLACE FUNCTION occupancy.flow_of_buckets(
  space integer, after_time timestamptz, until_time timestamptz,
  OUT entries bigint, OUT exits bigint, OUT last_crossing timestamptz,
  OUT covered_from timestamptz, OUT covered_to timestamptz
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
-- Planned once a session: the levels have few chunks, and planning would cost more than reading.
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  whole record := occupancy.whole_buckets(after_time, until_time);
  part record;
BEGIN
  covered_from := whole.quarters_from;
  covered_to := whole.quarters_to;
  entries := 0;
  exits := 0;

  IF whole.months_from < whole.months_to THEN
    SELECT sum(flow.entries) AS entries, sum(flow.exits) AS exits, max(flow.last_crossing) AS last_crossing INTO part
      FROM occupancy.flow_30d AS flow
      WHERE flow.space = flow_of_buckets.space
        AND flow.bucket >= whole.months_from AND flow.bucket < whole.months_to;
    entries := entries + coalesce(part.entries, 0);
    exits := exits + coalesce(part.exits, 0);
    last_crossing := greatest(last_crossing, part.last_crossing);
  END IF;

  -- Each range by itself, and only if it is not empty: opening the chunks of a level is most of what a count costs.
  IF whole.days_from < whole.months_from THEN
    SELECT sum(flow.entries) AS entries, sum(flow.exits) AS exits, max(flow.last_crossing) AS last_crossing INTO part
      FROM occupancy.flow_1d AS flow
      WHERE flow.space = flow_of_buckets.space
        AND flow.bucket >= whole.days_from AND flow.bucket < whole.months_from;
    entries := entries + coalesce(part.entries, 0);
    exits := exits + coalesce(part.exits, 0);
    last_crossing := greatest(last_crossing, part.last_crossing);
  END IF;
  IF whole.months_to < whole.days_to THEN
    SELECT sum(flow.entries) AS entries, sum(flow.exits) AS exits, max(flow.last_crossing) AS last_crossing INTO part
      FROM occupancy.flow_1d AS flow
      WHERE flow.space = flow_of_buckets.space
        AND flow.bucket >= whole.months_to AND flow.bucket < whole.days_to;
    entries := entries + coalesce(part.entries, 0);
    exits := exits + coalesce(part.exits, 0);
    last_crossing := greatest(last_crossing, part.last_crossing);
  END IF;

  IF whole.quarters_from < whole.days_from THEN
    SELECT sum(flow.entries) AS entries, sum(flow.exits) AS exits, max(flow.last_crossing) AS last_crossing INTO part
      FROM occupancy.flow_15m AS flow
      WHERE flow.space = flow_of_buckets.space
        AND flow.bucket >= whole.quarters_from AND flow.bucket < whole.days_from;
    entries := entries + coalesce(part.entries, 0);
    exits := exits + coalesce(part.exits, 0);
    last_crossing := greatest(last_crossing, part.last_crossing);
  END IF;
  IF whole.days_to >= whole.quarters_to THEN
    RETURN;
  ELSIF whole.days_to >= occupancy.recent_since() - INTERVAL '24 hours' THEN
    -- The last condition lets the one plan leave out all older chunks, as in flow_of_recent_crossings.
    SELECT sum(flow.entries) AS entries, sum(flow.exits) AS exits, max(flow.last_crossing) AS last_crossing INTO part
      FROM occupancy.flow_15m AS flow
      WHERE flow.space = flow_of_buckets.space
        AND flow.bucket >= whole.days_to AND flow.bucket < whole.quarters_to
        AND flow.bucket >= now() - INTERVAL '96 hours';
  ELSE
    SELECT sum(flow.entries) AS entries, sum(flow.exits) AS exits, max(flow.last_crossing) AS last_crossing INTO part
      FROM occupancy.flow_15m AS flow
      WHERE flow.space = flow_of_buckets.space
        AND flow.bucket >= whole.days_to AND flow.bucket < whole.quarters_to;
  END IF;
  entries := entries + coalesce(part.entries, 0);
  exits := exits + coalesce(part.exits, 0);
  last_crossing := greatest(last_crossing, part.last_crossing);
END
$$;

COMMENT ON FUNCTION occupancy.flow_of_buckets(integer, timestamptz, timestamptz) IS
  'Entries, exits and the latest crossing of a space in the whole buckets of (after_time, until_time], the coarsest '
  'that fit, each once. They cover [covered_from, covered_to); what is left at both ends is for raw crossings.';
