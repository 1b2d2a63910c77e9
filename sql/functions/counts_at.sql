CREATE OR REPLACE FUNCTION occupancy.counts_at(spaces integer[], at timestamptz)
RETURNS TABLE (
  space integer, net bigint, count bigint, entries bigint, exits bigint,
  since timestamptz, last_crossing timestamptz,
  aggregated_until timestamptz, aggregated_crossings bigint, tail_crossings bigint
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT wanted.space, answer.*
  FROM unnest(spaces) AS wanted (space)
  CROSS JOIN LATERAL occupancy.count_at(wanted.space, counts_at.at) AS answer
$$;

COMMENT ON FUNCTION occupancy.counts_at(integer[], timestamptz) IS
  'count_at of many spaces at the same instant and from the same snapshot, one row each.';
