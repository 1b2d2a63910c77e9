CREATE OR REPLACE VIEW bi.dpu_health WITH (security_barrier) AS
SELECT
  dpu.dpu_id,
  doorway.doorway_id,
  latest.time AS last_crossing,
  date_part('epoch', now() - latest.time) AS seconds_since,
  lately.last_hour AS crossings_1h,
  lately.last_day AS crossings_24h,
  lately.towards AS towards_24h,
  lately.away AS away_24h,
  heartbeat.received_at AS last_heartbeat,
  date_part('epoch', heartbeat.time - heartbeat.received_at) AS clock_skew_seconds
FROM occupancy.dpu
LEFT JOIN occupancy.heartbeat ON heartbeat.dpu = dpu.id
LEFT JOIN occupancy.placement
  ON placement.organization = dpu.organization AND placement.dpu = dpu.id
  AND placement.valid_from <= now() AND placement.valid_to > now()
LEFT JOIN occupancy.doorway
  ON doorway.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
  AND doorway.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible)
  AND doorway.id = placement.doorway
-- Both by the index (dpu, time), newest first; no chunk is scanned.
LEFT JOIN LATERAL (
  SELECT crossing.time
  FROM occupancy.crossing
  WHERE crossing.dpu = dpu.id AND crossing.time <= now()
  ORDER BY crossing.time DESC
  LIMIT 1
) AS latest ON true
CROSS JOIN LATERAL (
  SELECT
    count(*) FILTER (WHERE crossing.time > now() - INTERVAL '1 hour') AS last_hour,
    count(*) AS last_day,
    count(*) FILTER (WHERE crossing.direction = 1) AS towards,
    count(*) FILTER (WHERE crossing.direction = -1) AS away
  FROM occupancy.crossing
  WHERE crossing.dpu = dpu.id AND crossing.time > now() - INTERVAL '24 hours' AND crossing.time <= now()
) AS lately
WHERE dpu.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
  AND dpu.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible);

COMMENT ON VIEW bi.dpu_health IS
  'Whether sensors still report. One that has fallen silent, or sees people in one direction only, needs a look.';
COMMENT ON COLUMN bi.dpu_health.dpu_id IS 'The sensor; see bi.dpus.';
COMMENT ON COLUMN bi.dpu_health.doorway_id IS 'The doorway over which it hangs now; null: none.';
COMMENT ON COLUMN bi.dpu_health.last_crossing IS 'When somebody last walked under it; null: never.';
COMMENT ON COLUMN bi.dpu_health.seconds_since IS 'How long ago that is; null: never.';
COMMENT ON COLUMN bi.dpu_health.crossings_1h IS 'Crossings of the last hour.';
COMMENT ON COLUMN bi.dpu_health.crossings_24h IS 'Crossings of the last 24 hours.';
COMMENT ON COLUMN bi.dpu_health.towards_24h IS 'Those towards the sensor, into the side that it faces.';
COMMENT ON COLUMN bi.dpu_health.away_24h IS 'Those away from it.';
COMMENT ON COLUMN bi.dpu_health.last_heartbeat IS 'When its latest heartbeat came in; null: it sent none.';
COMMENT ON COLUMN bi.dpu_health.clock_skew_seconds IS
  'How far its clock was ahead of the service''s then, less the way through the network; null: no heartbeat.';
