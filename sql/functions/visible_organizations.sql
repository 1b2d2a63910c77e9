CREATE OR REPLACE FUNCTION occupancy.visible_organizations(OUT first integer, OUT last integer)
LANGUAGE sql STABLE SECURITY DEFINER
-- pg_temp last: otherwise a caller's temporary types would be found before the system's
SET search_path = pg_catalog, pg_temp
AS $$
  -- session_user: neither SET ROLE nor a SECURITY DEFINER function changes who has logged in.
  SELECT coalesce(min(organization.id), 1), coalesce(max(organization.id), 0)
  FROM occupancy.organization
  WHERE has_table_privilege(session_user, 'occupancy.space', 'SELECT')
    OR organization.id = (SELECT bi_login.organization FROM occupancy.bi_login WHERE bi_login.login = session_user)
$$;

COMMENT ON FUNCTION occupancy.visible_organizations() IS
  'Whose rows this session sees in schema bi: of the one organization that its login is registered for (bi_login); of '
  'all where it may read the tables anyhow; else of none. A range, not a list: comparing with its ends is as cheap as '
  'any condition of a query, so that a filter never puts that one first. EXPLAIN ANALYZE would tell what it found.';
