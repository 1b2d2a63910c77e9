CREATE OR REPLACE FUNCTION occupancy.mark_stale(from_time timestamptz, to_time timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  kept_since timestamptz;
  marked bigint;
BEGIN
  -- A drop looks for marks while it holds this lock alone.
  PERFORM occupancy.lock_for_writing();
  SELECT horizon.dropped_before INTO kept_since FROM occupancy.horizon;
  IF from_time < kept_since THEN
    RAISE EXCEPTION 'single crossings before % are no longer stored: aggregates before it cannot be computed anew',
      kept_since USING ERRCODE = 'invalid_parameter_value', COLUMN = 'from';
  END IF;
  INSERT INTO occupancy.stale (space, since, until)
  SELECT space.id, mark_stale.from_time, mark_stale.to_time
  FROM occupancy.space;
  GET DIAGNOSTICS marked = ROW_COUNT;
  RETURN marked;
END
$$;

COMMENT ON FUNCTION occupancy.mark_stale(timestamptz, timestamptz) IS
  'Has the next refresh compute [from_time, to_time) of every space anew. Returns the number of spaces. Raises '
  'invalid_parameter_value where crossings of the range are no longer stored.';
