CREATE OR REPLACE FUNCTION occupancy.visible_space(space text) RETURNS integer
LANGUAGE plpgsql STABLE SECURITY DEFINER
-- pg_temp last: otherwise a caller's temporary types would be found before the system's
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_spaces integer[] := ARRAY(
    SELECT named.id
    FROM occupancy.space AS named
    WHERE named.space_id = visible_space.space
      AND named.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
      AND named.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible)
  );
BEGIN
  -- The same words whether it is unknown or another organization's.
  IF cardinality(found_spaces) = 0 THEN
    RAISE EXCEPTION 'there is no space %', coalesce(quote_literal(visible_space.space), 'null')
      USING ERRCODE = 'no_data_found';
  ELSIF cardinality(found_spaces) > 1 THEN
    RAISE EXCEPTION 'more than one organization has a space %: ask with the login of one',
      quote_literal(visible_space.space) USING ERRCODE = 'cardinality_violation';
  END IF;
  RETURN found_spaces[1];
END
$$;

COMMENT ON FUNCTION occupancy.visible_space(text) IS
  'The number of a space that this session sees in schema bi; raises no_data_found if there is none.';
