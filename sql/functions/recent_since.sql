CREATE OR REPLACE FUNCTION occupancy.recent_since() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
-- Half of what the plans of flow_of_recent_crossings hold: the other half is for a clock that is set back.
RETURN now() - INTERVAL '24 hours';

COMMENT ON FUNCTION occupancy.recent_since() IS 'From here on flow_of_recent_crossings may be asked.';
