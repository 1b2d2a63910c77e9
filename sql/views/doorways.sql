CREATE OR REPLACE VIEW bi.doorways WITH (security_barrier) AS
SELECT
  doorway.doorway_id,
  doorway.name,
  side_a.space_id AS side_a,
  side_b.space_id AS side_b
FROM occupancy.doorway
LEFT JOIN occupancy.space AS side_a
  ON side_a.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
  AND side_a.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible)
  AND side_a.id = doorway.side_a
LEFT JOIN occupancy.space AS side_b
  ON side_b.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
  AND side_b.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible)
  AND side_b.id = doorway.side_b
WHERE doorway.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
  AND doorway.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible);

COMMENT ON VIEW bi.doorways IS
  'Doorways, each between two sides.';
COMMENT ON COLUMN bi.doorways.doorway_id IS 'The doorway, as its owner calls it.';
COMMENT ON COLUMN bi.doorways.name IS 'For people to read.';
COMMENT ON COLUMN bi.doorways.side_a IS 'The space on side A; null: outside.';
COMMENT ON COLUMN bi.doorways.side_b IS 'The space on side B; null: outside.';
