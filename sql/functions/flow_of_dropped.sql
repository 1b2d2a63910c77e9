CREATE OR REPLACE FUNCTION occupancy.flow_of_dropped(
  space integer, from_time timestamptz, to_time timestamptz,
  OUT entries bigint, OUT exits bigint, OUT last_crossing timestamptz
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  instant CONSTANT interval := '1 microsecond';
  quarter CONSTANT interval := '15 minutes';
  kept_since CONSTANT timestamptz := (SELECT horizon.dropped_before FROM occupancy.horizon);
  quarter_start timestamptz := public.time_bucket(quarter, from_time);
  part record;
  stated record;
  tail record;
BEGIN
  entries := 0;
  exits := 0;
  IF from_time >= to_time THEN
    RETURN;
  END IF;
  IF NOT isfinite(from_time) THEN
    RAISE EXCEPTION 'a stale mark of space % begins before %, where nothing can be repaired', space, kept_since
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  WHILE quarter_start < least(to_time, kept_since) LOOP
    SELECT flow.entries, flow.exits, flow.last_crossing, flow.net_first,
      -- of what happened at the very first instant only the net is known, unless nothing else did
      CASE WHEN flow.last_crossing = flow.bucket THEN flow.entries ELSE greatest(flow.net_first, 0) END AS entries_first,
      CASE WHEN flow.last_crossing = flow.bucket THEN flow.exits ELSE greatest(-flow.net_first, 0) END AS exits_first,
      from_time <= quarter_start AS from_start, from_time = quarter_start + instant AS from_second,
      to_time = quarter_start + instant AS to_first, to_time >= quarter_start + quarter AS to_end
    INTO part
    FROM occupancy.flow_15m AS flow
    WHERE flow.space = flow_of_dropped.space AND flow.bucket = quarter_start;
    IF FOUND THEN
      SELECT reset.rest_entries, reset.rest_exits, reset.rest_last_crossing INTO stated
      FROM occupancy.reset
      WHERE reset.space = flow_of_dropped.space AND reset.at = from_time - instant AND reset.rest_entries IS NOT NULL
        AND NOT part.from_start AND part.to_end;
      IF FOUND THEN
        entries := entries + stated.rest_entries;
        exits := exits + stated.rest_exits;
        last_crossing := greatest(last_crossing, stated.rest_last_crossing);
      ELSIF part.from_start AND part.to_end THEN
        entries := entries + part.entries;
        exits := exits + part.exits;
        last_crossing := greatest(last_crossing, part.last_crossing);
      ELSIF part.from_start AND part.to_first THEN
        entries := entries + part.entries_first;
        exits := exits + part.exits_first;
        IF part.entries_first + part.exits_first > 0 THEN
          last_crossing := greatest(last_crossing, quarter_start);
        END IF;
      ELSIF part.from_second AND part.to_end THEN
        entries := entries + part.entries - part.entries_first;
        exits := exits + part.exits - part.exits_first;
        last_crossing := greatest(last_crossing, nullif(part.last_crossing, quarter_start));
      ELSIF NOT (part.from_second AND part.to_first) THEN
        RAISE EXCEPTION 'single crossings before % are no longer stored: before it, counts are known at whole quarters '
          'of an hour (UTC), such as % or %, and where the latest reset was at one',
          kept_since, quarter_start, quarter_start + quarter
          USING ERRCODE = 'invalid_parameter_value', COLUMN = 'at';
      END IF;
    END IF;
    quarter_start := quarter_start + quarter;
  END LOOP;
  IF to_time > kept_since THEN
    tail := occupancy.flow_of_crossings(space, greatest(from_time, kept_since), to_time);
    entries := entries + tail.entries;
    exits := exits + tail.exits;
    last_crossing := greatest(last_crossing, tail.last_crossing);
  END IF;
END
$$;

COMMENT ON FUNCTION occupancy.flow_of_dropped(integer, timestamptz, timestamptz) IS
  'flow_of_crossings for a range of less than two quarters of an hour that begins before dropped_before: whole quarters, '
  'their first instant, what follows it, and what followed a reset are known without crossings; so is a quarter in which '
  'nobody came. Raises invalid_parameter_value elsewhere. Of crossings in both directions at the first instant of a '
  'quarter only the net is known, so that entries and exits may both be too low by those.';
