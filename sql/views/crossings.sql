CREATE OR REPLACE VIEW bi.crossings WITH (security_barrier) AS
SELECT
  dpu.dpu_id,
  doorway.doorway_id,
  passed."timestamp",
  passed.direction,
  passed.seq,
  passed.received_at
FROM occupancy.dpu
-- Only through a visible DPU, by the index (dpu, time): from any other plan EXPLAIN ANALYZE would tell how many
-- crossings other organizations have in a range. What changes at each call cannot be pulled up into such a plan.
CROSS JOIN LATERAL (
  SELECT
    crossing.time AS "timestamp",
    crossing.direction,
    crossing.seq,
    crossing.time + crossing.delay * INTERVAL '1 second' AS received_at,
    clock_timestamp() AS read_at
  FROM occupancy.crossing
  WHERE crossing.dpu = dpu.id
) AS passed
LEFT JOIN occupancy.placement
  ON placement.organization = dpu.organization AND placement.dpu = dpu.id
  AND placement.valid_from <= passed."timestamp" AND placement.valid_to > passed."timestamp"
LEFT JOIN occupancy.doorway
  ON doorway.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
  AND doorway.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible)
  AND doorway.id = placement.doorway
WHERE dpu.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
  AND dpu.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible);

COMMENT ON VIEW bi.crossings IS
  'Single events as stored, each once. Many: always say which timestamp. Old ones may have been dropped.';
COMMENT ON COLUMN bi.crossings.dpu_id IS 'The sensor; see bi.dpus.';
COMMENT ON COLUMN bi.crossings.doorway_id IS
  'The doorway over which it hung then; null: none, so that it counts for no space.';
COMMENT ON COLUMN bi.crossings."timestamp" IS 'When somebody walked through.';
COMMENT ON COLUMN bi.crossings.direction IS '1: towards the sensor, into the side that it faces; -1: away from it.';
COMMENT ON COLUMN bi.crossings.seq IS 'The sensor''s own number; 0 if it sends none.';
COMMENT ON COLUMN bi.crossings.received_at IS 'When it was stored, to the second: a whole number of seconds after timestamp.';
