CREATE OR REPLACE FUNCTION occupancy.on_space_changed() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  moved integer[] := ARRAY(
    SELECT changed_to.id
    FROM changed_from
    JOIN changed_to USING (id)
    WHERE changed_from.parent IS DISTINCT FROM changed_to.parent
  );
  looping text;
BEGIN
  SELECT space.space_id INTO looping
  FROM occupancy.space
  WHERE space.id = ANY (moved)
    AND space.parent IN (SELECT below.space FROM occupancy.subtree(ARRAY[space.id]) AS below)
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'space "%" would be inside itself', looping
      USING ERRCODE = 'check_violation', CONSTRAINT = 'space_is_not_inside_itself';
  END IF;

  PERFORM occupancy.apply_effects(ARRAY(
    SELECT DISTINCT placement.dpu
    FROM occupancy.subtree(moved) AS below
    JOIN occupancy.doorway ON below.space IN (doorway.side_a, doorway.side_b)
    JOIN occupancy.placement ON placement.doorway = doorway.id
  ));
  RETURN NULL;
END
$$;

COMMENT ON FUNCTION occupancy.on_space_changed() IS
  'Refuses cycles, and derives the effects of every DPU at the doorways of a moved space and of those below it.';
