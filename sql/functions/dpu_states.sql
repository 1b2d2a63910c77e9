CREATE OR REPLACE FUNCTION occupancy.dpu_states(dpus integer[], before_time timestamptz)
RETURNS TABLE (
  dpu integer,
  event_at timestamptz, event_seq bigint, event_direction smallint, event_received_at timestamptz,
  heartbeat_at timestamptz, heartbeat_seq bigint, heartbeat_received_at timestamptz, heard_at timestamptz,
  clock_skew_seconds double precision
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT wanted.dpu, latest.at, latest.seq, latest.direction, latest.received_at,
    heartbeat.time, heartbeat.seq, heartbeat.received_at, heartbeat.heard_at,
    date_part('epoch', heartbeat.time - heartbeat.received_at)
  FROM unnest(dpus) AS wanted (dpu)
  LEFT JOIN occupancy.last_crossings(dpus, before_time) AS latest ON latest.dpu = wanted.dpu
  LEFT JOIN occupancy.heartbeat ON heartbeat.dpu = wanted.dpu
$$;

COMMENT ON FUNCTION occupancy.dpu_states(integer[], timestamptz) IS
  'When each DPU was last heard of: its last crossing before an instant, its latest heartbeat, and how far its clock was '
  'ahead of the service''s then (the way through the network included, which makes it smaller).';
