CREATE OR REPLACE FUNCTION occupancy.count_of(
  space integer, at timestamptz,
  OUT count bigint, OUT net bigint, OUT entries bigint, OUT exits bigint,
  OUT since timestamptz, OUT last_crossing timestamptz
)
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT answer.count, answer.net, answer.entries, answer.exits, answer.since, answer.last_crossing
  FROM occupancy.count_at(count_of.space, count_of.at) AS answer
$$;

COMMENT ON FUNCTION occupancy.count_of(integer, timestamptz) IS
  'count_at, for the views of schema bi: with the rights of its owner, because whoever asks a view has none on the tables.';
