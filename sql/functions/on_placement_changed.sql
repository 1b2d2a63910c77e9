CREATE OR REPLACE FUNCTION occupancy.on_placement_changed() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  dpus integer[];
BEGIN
  -- A trigger with transition tables serves one kind of statement; a table that is not there cannot be named.
  IF TG_OP = 'INSERT' THEN
    dpus := ARRAY(SELECT DISTINCT dpu FROM changed_to);
  ELSIF TG_OP = 'DELETE' THEN
    dpus := ARRAY(SELECT DISTINCT dpu FROM changed_from);
  ELSE
    dpus := ARRAY(SELECT dpu FROM changed_from UNION SELECT dpu FROM changed_to);
  END IF;
  PERFORM occupancy.apply_effects(dpus);
  RETURN NULL;
END
$$;

COMMENT ON FUNCTION occupancy.on_placement_changed() IS 'Derives the effects of DPUs whose placements changed.';
