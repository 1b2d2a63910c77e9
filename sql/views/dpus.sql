CREATE OR REPLACE VIEW bi.dpus WITH (security_barrier) AS
SELECT
  dpu.dpu_id,
  dpu.name
FROM occupancy.dpu
WHERE dpu.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
  AND dpu.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible);

COMMENT ON VIEW bi.dpus IS
  'Depth sensors.';
COMMENT ON COLUMN bi.dpus.dpu_id IS 'The serial number of the sensor.';
COMMENT ON COLUMN bi.dpus.name IS 'For people to read.';
