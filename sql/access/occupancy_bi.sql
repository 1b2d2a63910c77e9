-- Roles belong to the whole server: the other databases on it share this one.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'occupancy_bi') THEN
    BEGIN
      CREATE ROLE occupancy_bi NOLOGIN;
      COMMENT ON ROLE occupancy_bi IS
        'May read schema bi of Occupancy; logins are members of it. Make them with: occupancy bi-login';
    EXCEPTION
      WHEN duplicate_object OR unique_violation THEN
        NULL;  -- another database's migration was faster
      WHEN insufficient_privilege THEN
        RAISE NOTICE 'role occupancy_bi is missing and % may not create it; without it nobody reads schema bi. Have it '
          'made (CREATE ROLE occupancy_bi NOLOGIN), then migrate again', current_user;
        RETURN;
    END;
  END IF;

  GRANT USAGE ON SCHEMA bi TO occupancy_bi;
  GRANT SELECT ON ALL TABLES IN SCHEMA bi TO occupancy_bi;
  GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA bi TO occupancy_bi;
  -- What the views call, they call as whoever asks them. Nobody can call it by itself: that takes USAGE on the schema.
  GRANT EXECUTE ON FUNCTION
    occupancy.visible_organizations(),
    occupancy.grid(interval),
    occupancy.bucket_of(integer, timestamptz, timestamptz),
    occupancy.count_of(integer, timestamptz)
    TO occupancy_bi;
END
$$;
