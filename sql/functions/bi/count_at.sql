CREATE OR REPLACE FUNCTION bi.count_at(space text, at timestamptz) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT answer.count FROM occupancy.count_at(occupancy.visible_space(count_at.space), count_at.at) AS answer
$$;

COMMENT ON FUNCTION bi.count_at(text, timestamptz) IS
  'People in a space at an instant, as the API has it. An unknown space is an error.';
