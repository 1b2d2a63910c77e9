CREATE OR REPLACE FUNCTION bi.entries_by_doorway(space text, from_time timestamptz, to_time timestamptz)
RETURNS TABLE (doorway_id text, entries bigint, exits bigint)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT doorway.doorway_id, flow.entries, flow.exits
  FROM occupancy.entries_by_doorway(
    occupancy.visible_space(entries_by_doorway.space),
    entries_by_doorway.from_time, entries_by_doorway.to_time) AS flow
  JOIN occupancy.doorway ON doorway.id = flow.doorway
  ORDER BY doorway.doorway_id
$$;

COMMENT ON FUNCTION bi.entries_by_doorway(text, timestamptz, timestamptz) IS
  'Entries into and exits from a space in [from_time, to_time) by the doorway that people took. Reads single crossings: '
  'fast for days, slow for years.';
