CREATE OR REPLACE FUNCTION occupancy.rejected_of_dpu(organization integer, dpu_id text, received_since timestamptz)
RETURNS TABLE (code text, at timestamptz, received_at timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT kept.code,
    CASE
      WHEN kept.code NOT IN ('future_time', 'past_time')
        -- with an offset: what the text means must not hang on the time zone of the session
        AND kept.said ~ '^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$'
        AND pg_input_is_valid(kept.said, 'timestamptz')
      THEN kept.said::timestamptz
      ELSE kept.received_at
    END,
    kept.received_at
  FROM (
    SELECT rejected_event.code, rejected_event.received_at,
      coalesce(rejected_event.payload ->> 'timestamp', rejected_event.payload #>> '{data,timestamp}') AS said
    FROM occupancy.rejected_event
    WHERE rejected_event.organization = rejected_of_dpu.organization
      AND left(coalesce(rejected_event.payload ->> 'dpu_id', rejected_event.payload #>> '{data,dpu_id}'), 200)
        = left(rejected_of_dpu.dpu_id, 200)
      AND coalesce(rejected_event.payload ->> 'dpu_id', rejected_event.payload #>> '{data,dpu_id}')
        = rejected_of_dpu.dpu_id
      AND rejected_event.received_at >= received_since
  ) AS kept
$$;

COMMENT ON FUNCTION occupancy.rejected_of_dpu(integer, text, timestamptz) IS
  'The events that were kept aside and name this DPU, received since an instant: why, and when they were by the device''s '
  'clock, or came in where that does not say.';
