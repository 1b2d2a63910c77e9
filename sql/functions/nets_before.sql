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
  from_times timestamptz[];
  reset_counts integer[];
  piece_spaces integer[];
  piece_levels text[];
  piece_from_times timestamptz[];
  piece_to_times timestamptz[];
BEGIN
  SELECT array_agg(coalesce(latest.reset_time, ever) ORDER BY wanted.place),
    array_agg(coalesce(latest.reset_count, 0) ORDER BY wanted.place)
  INTO from_times, reset_counts
  FROM unnest(spaces) WITH ORDINALITY AS wanted (space, place)
  CROSS JOIN LATERAL occupancy.latest_reset(wanted.space, nets_before.at - instant) AS latest;
  SELECT array_agg(piece.space), array_agg(piece.level), array_agg(piece.from_time), array_agg(piece.to_time)
  INTO piece_spaces, piece_levels, piece_from_times, piece_to_times
  FROM occupancy.pieces(spaces, from_times, ARRAY[nets_before.at], INTERVAL '720 hours', NULL, NULL) AS piece;
  PERFORM occupancy.require_crossings(piece_spaces, piece_levels, piece_from_times, piece_to_times);

  RETURN QUERY
  SELECT base.space, base.reset_count + coalesce(sum(
    part.entries - part.exits
    -- A crossing at the instant of the reset was before it.
    - CASE WHEN part.at = base.from_time THEN part.net_first ELSE 0 END
  ), 0)::bigint
  FROM unnest(spaces, from_times, reset_counts) AS base (space, from_time, reset_count)
  LEFT JOIN occupancy.parts(piece_spaces, piece_levels, piece_from_times, piece_to_times) AS part
    ON part.space = base.space
  GROUP BY base.space, base.reset_count;
END
$$;

COMMENT ON FUNCTION occupancy.nets_before(integer[], timestamptz) IS
  'The net of spaces just before an instant, as count_at has it a microsecond earlier; for many spaces in one go.';
