CREATE OR REPLACE FUNCTION occupancy.keep_rejected(
  organization integer, codes text[], details text[], payloads jsonb[]
) RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO occupancy.rejected_event (organization, code, detail, payload)
  SELECT keep_rejected.organization, event.code, event.detail, event.payload
  FROM unnest(codes, details, payloads) AS event (code, detail, payload)
  ORDER BY event.code, md5(event.payload::text)
  ON CONFLICT DO NOTHING
$$;

COMMENT ON FUNCTION occupancy.keep_rejected(integer, text[], text[], jsonb[]) IS
  'Keeps events that cannot be counted, with the reason; the same event for the same reason once.';
