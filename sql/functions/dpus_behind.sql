CREATE OR REPLACE FUNCTION occupancy.dpus_behind(
  organization integer, after_id text, until_id text, silent_since timestamptz, most integer
) RETURNS TABLE (dpu integer, dpu_id text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
-- only a plan made for silent_since leaves out the chunks before it
SET plan_cache_mode = force_custom_plan
AS $$
  SELECT dpu.id, dpu.dpu_id
  FROM occupancy.dpu
  LEFT JOIN occupancy.heartbeat ON heartbeat.dpu = dpu.id
  -- The limit keeps this one look at the index for each DPU, whatever the planner thinks of the tables.
  LEFT JOIN LATERAL (
    SELECT true AS is_there
    FROM occupancy.crossing
    WHERE crossing.dpu = dpu.id AND crossing.time >= silent_since
    ORDER BY crossing.time DESC
    LIMIT 1
  ) AS lately ON true
  WHERE dpu.organization = dpus_behind.organization
    AND (after_id IS NULL OR dpu.dpu_id > after_id)
    AND (until_id IS NULL OR dpu.dpu_id <= until_id)
    AND (silent_since IS NULL
      OR lately.is_there IS NULL AND (heartbeat.heard_at IS NULL OR heartbeat.heard_at < silent_since))
  ORDER BY dpu.dpu_id
  LIMIT most
$$;

COMMENT ON FUNCTION occupancy.dpus_behind(integer, text, text, timestamptz, integer) IS
  'The first `most` DPUs of an organization whose ids are behind after_id and not behind until_id (null: all); only '
  'those without a crossing and a heartbeat since silent_since, unless that is null.';
