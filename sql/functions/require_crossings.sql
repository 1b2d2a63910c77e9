CREATE OR REPLACE FUNCTION occupancy.require_crossings(
  spaces integer[], levels text[], from_times timestamptz[], to_times timestamptz[]
) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- The tail after the horizon is always there; looking at the chunks costs more than many an answer.
  older CONSTANT boolean := EXISTS (
    SELECT FROM unnest(levels, from_times) AS piece (level, from_time) CROSS JOIN occupancy.horizon
    WHERE piece.level = 'raw' AND piece.from_time < horizon.read_before
  );
  kept_since timestamptz;
BEGIN
  IF NOT older THEN
    RETURN;
  END IF;
  kept_since := occupancy.first_chunk();
  IF EXISTS (
    SELECT FROM unnest(spaces, levels, from_times, to_times) AS piece (space, level, from_time, to_time)
    JOIN occupancy.flow_15m AS flow ON flow.space = piece.space
      AND flow.bucket >= public.time_bucket(INTERVAL '15 minutes', piece.from_time) AND flow.bucket < piece.to_time
    WHERE piece.level = 'raw' AND flow.bucket < kept_since
  ) THEN
    RAISE EXCEPTION 'single crossings before % are no longer stored: before it, only whole '
      'quarters of an hour (UTC) are known', kept_since
      USING ERRCODE = 'invalid_parameter_value', COLUMN = 'interval';
  END IF;
END
$$;

COMMENT ON FUNCTION occupancy.require_crossings(integer[], text[], timestamptz[], timestamptz[]) IS
  'Raises invalid_parameter_value where a raw piece (see pieces) reaches back before the crossings that are kept.';
