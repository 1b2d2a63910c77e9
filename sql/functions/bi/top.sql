CREATE OR REPLACE FUNCTION bi.top(
  from_time timestamptz, to_time timestamptz, measure text DEFAULT 'max', most integer DEFAULT 10,
  time_zone text DEFAULT NULL, hours text DEFAULT NULL
) RETURNS TABLE (
  place bigint, space_id text, seconds double precision,
  first bigint, last bigint, min bigint, max bigint, mean double precision, net_min bigint,
  entries bigint, exits bigint, utilization double precision, peak_utilization double precision
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  IF measure IS NULL OR measure NOT IN ('max', 'mean', 'entries', 'exits', 'utilization', 'peak_utilization') THEN
    RAISE EXCEPTION 'measure is max, mean, entries, exits, utilization or peak_utilization, not %',
      coalesce(quote_literal(measure), 'null') USING ERRCODE = 'invalid_parameter_value';
  END IF;
  RETURN QUERY
  SELECT row_number() OVER (ORDER BY ranked.value DESC, space.space_id), space.space_id, whole.seconds,
    whole.first, whole.last, whole.min, whole.max, whole.mean, whole.net_min,
    whole.entries, whole.exits, whole.utilization, whole.peak_utilization
  FROM occupancy.totals(
    ARRAY(
      SELECT visible.id FROM occupancy.space AS visible
      WHERE visible.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
        AND visible.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible)
    ),
    top.from_time, top.to_time, top.time_zone, top.hours) AS whole
  JOIN occupancy.space ON space.id = whole.space
  CROSS JOIN LATERAL (
    SELECT CASE measure
      WHEN 'max' THEN whole.max
      WHEN 'mean' THEN whole.mean
      WHEN 'entries' THEN whole.entries
      WHEN 'exits' THEN whole.exits
      WHEN 'utilization' THEN whole.utilization
      ELSE whole.peak_utilization
    END AS value
  ) AS ranked
  -- a space without a capacity has no utilization
  WHERE ranked.value IS NOT NULL
  ORDER BY 1
  LIMIT top.most;
END
$$;

COMMENT ON FUNCTION bi.top(timestamptz, timestamptz, text, integer, text, text) IS
  'The spaces that led in [from_time, to_time), taken as one bucket, by measure: max, mean, entries, exits, utilization '
  'or peak_utilization; during hours, by local time of time_zone (each space''s own, if null).';
