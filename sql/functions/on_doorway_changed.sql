CREATE OR REPLACE FUNCTION occupancy.on_doorway_changed() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM occupancy.apply_effects(ARRAY(
    SELECT DISTINCT placement.dpu
    FROM changed_from
    JOIN changed_to USING (id)
    JOIN occupancy.placement ON placement.doorway = changed_to.id
    WHERE (changed_from.side_a, changed_from.side_b) IS DISTINCT FROM (changed_to.side_a, changed_to.side_b)
  ));
  RETURN NULL;
END
$$;

COMMENT ON FUNCTION occupancy.on_doorway_changed() IS
  'Derives the effects of every DPU that ever hung over a doorway whose sides changed.';
