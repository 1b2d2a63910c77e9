CREATE OR REPLACE VIEW bi.placements WITH (security_barrier) AS
SELECT
  dpu.dpu_id,
  doorway.doorway_id,
  placement.facing,
  nullif(placement.valid_from, '-infinity') AS valid_from,
  nullif(placement.valid_to, 'infinity') AS valid_to
FROM occupancy.placement
JOIN occupancy.dpu ON dpu.id = placement.dpu
JOIN occupancy.doorway ON doorway.id = placement.doorway
-- Of each table, so that a condition on an id is never looked up among those of other organizations: EXPLAIN ANALYZE
-- would tell whether it is there.
WHERE placement.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
  AND placement.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible)
  AND dpu.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
  AND dpu.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible)
  AND doorway.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
  AND doorway.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible);

COMMENT ON VIEW bi.placements IS
  'Over which doorway each DPU hangs, or hung.';
COMMENT ON COLUMN bi.placements.dpu_id IS 'The sensor; see bi.dpus.';
COMMENT ON COLUMN bi.placements.doorway_id IS 'The doorway; see bi.doorways.';
COMMENT ON COLUMN bi.placements.facing IS
  'The side of the doorway on which it hangs, a or b: what it counts as 1 walks to that side.';
COMMENT ON COLUMN bi.placements.valid_from IS 'First instant at which it holds; null: since ever.';
COMMENT ON COLUMN bi.placements.valid_to IS 'First instant at which it no longer holds; null: it still does.';
