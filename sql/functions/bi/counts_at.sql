CREATE OR REPLACE FUNCTION bi.counts_at(at timestamptz)
RETURNS TABLE (
  space_id text, count bigint, net bigint, entries bigint, exits bigint, since timestamptz, last_crossing timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT space.space_id, answer.count, answer.net, answer.entries, answer.exits, answer.since, answer.last_crossing
  FROM occupancy.space
  CROSS JOIN LATERAL occupancy.count_at(space.id, counts_at.at) AS answer
  WHERE space.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
    AND space.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible)
  ORDER BY space.space_id
$$;

COMMENT ON FUNCTION bi.counts_at(timestamptz) IS
  'The counts of all spaces at one instant, from one snapshot, with what they follow from.';
