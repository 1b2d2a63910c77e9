CREATE OR REPLACE FUNCTION occupancy.derived_effects(dpus integer[])
RETURNS TABLE (dpu integer, space integer, sign smallint, valid_from timestamptz, valid_to timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE side AS (
    SELECT placement.id AS placement, placement.dpu, placement.valid_from, placement.valid_to, walk.space, walk.sign
    FROM occupancy.placement
    JOIN occupancy.doorway ON doorway.id = placement.doorway
    CROSS JOIN LATERAL (VALUES
      (doorway.side_a, CASE placement.facing WHEN 'a' THEN 1 ELSE -1 END),
      (doorway.side_b, CASE placement.facing WHEN 'b' THEN 1 ELSE -1 END)
    ) AS walk (space, sign)
    WHERE placement.dpu = ANY (dpus) AND walk.space IS NOT NULL
  ),
  -- each side with its ancestors; UNION, not UNION ALL, ends the walk even if the tree had a cycle
  touched AS (
    SELECT side.placement, side.dpu, side.valid_from, side.valid_to, side.space, side.sign FROM side
    UNION
    SELECT touched.placement, touched.dpu, touched.valid_from, touched.valid_to, space.parent, touched.sign
    FROM touched
    JOIN occupancy.space ON space.id = touched.space
    WHERE space.parent IS NOT NULL
  ),
  -- a space that is walked into and out of at once is a common ancestor: no effect
  effect AS (
    SELECT touched.dpu, touched.space, sum(touched.sign) AS sign, touched.valid_from, touched.valid_to
    FROM touched
    GROUP BY touched.placement, touched.dpu, touched.space, touched.valid_from, touched.valid_to
    HAVING sum(touched.sign) <> 0
  )
  SELECT effect.dpu, effect.space, effect.sign::smallint, lower(validity), upper(validity)
  FROM (
    SELECT effect.dpu, effect.space, effect.sign, range_agg(tstzrange(effect.valid_from, effect.valid_to)) AS validities
    FROM effect
    GROUP BY effect.dpu, effect.space, effect.sign
  ) AS effect
  CROSS JOIN LATERAL unnest(effect.validities) AS validity
$$;

COMMENT ON FUNCTION occupancy.derived_effects(integer[]) IS
  'The effects that follow from the placements of these DPUs, the sides of their doorways and the tree, as they are now.';
