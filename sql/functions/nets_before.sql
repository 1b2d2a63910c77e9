CREATE OR REPLACE FUNCTION occupancy.nets_before(spaces integer[], at timestamptz)
RETURNS TABLE (space integer, net bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
-- Planned at each call, for as many spaces as there are.
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  instant CONSTANT interval := '1 microsecond';
  -- before every crossing, and finite
  ever CONSTANT timestamptz := '0001-01-01 00:00:00+00';
  reset_times timestamptz[];
  from_times timestamptz[];
  reset_counts integer[];
  piece_spaces integer[];
  piece_levels text[];
  piece_from_times timestamptz[];
  piece_to_times timestamptz[];
BEGIN
  SELECT array_agg(coalesce(latest.reset_time, ever) ORDER BY wanted.place),
    -- Of a reset whose crossings are dropped it is known what followed it in its quarter of an hour.
    array_agg(coalesce(rest.until, latest.reset_time, ever) ORDER BY wanted.place),
    array_agg(coalesce(latest.reset_count, 0) + coalesce(rest.net, 0) ORDER BY wanted.place)
  INTO reset_times, from_times, reset_counts
  FROM unnest(spaces) WITH ORDINALITY AS wanted (space, place)
  CROSS JOIN LATERAL occupancy.latest_reset(wanted.space, nets_before.at - instant) AS latest
  LEFT JOIN LATERAL (
    SELECT occupancy.next_bucket(INTERVAL '15 minutes', reset.at) AS until, reset.rest_entries - reset.rest_exits AS net
    FROM occupancy.reset
    WHERE reset.space = wanted.space AND reset.at = latest.reset_time AND reset.rest_entries IS NOT NULL
      -- at the start of a quarter, that quarter says it too
      AND public.time_bucket(INTERVAL '15 minutes', reset.at) <> reset.at
      AND occupancy.next_bucket(INTERVAL '15 minutes', reset.at) <= nets_before.at
  ) AS rest ON true;
  SELECT array_agg(piece.space), array_agg(piece.level), array_agg(piece.from_time), array_agg(piece.to_time)
  INTO piece_spaces, piece_levels, piece_from_times, piece_to_times
  FROM occupancy.pieces(spaces, from_times, ARRAY[nets_before.at], INTERVAL '720 hours', NULL, NULL) AS piece;
  PERFORM occupancy.require_crossings(piece_spaces, piece_levels, piece_from_times, piece_to_times);

  RETURN QUERY
  SELECT base.space, base.reset_count + coalesce(sum(
    part.entries - part.exits
    -- A crossing at the instant of the reset was before it.
    - CASE WHEN part.at = base.reset_time THEN part.net_first ELSE 0 END
  ), 0)::bigint
  FROM unnest(spaces, reset_times, reset_counts) AS base (space, reset_time, reset_count)
  LEFT JOIN occupancy.parts(piece_spaces, piece_levels, piece_from_times, piece_to_times) AS part
    ON part.space = base.space
  GROUP BY base.space, base.reset_count;
END
$$;

COMMENT ON FUNCTION occupancy.nets_before(integer[], timestamptz) IS
  'The net of spaces just before an instant, as count_at has it a microsecond earlier; for many spaces in one go.';
