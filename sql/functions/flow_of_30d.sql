CREATE OR REPLACE FUNCTION occupancy.flow_of_30d(
  space integer, from_time timestamptz, to_time timestamptz,
  OUT entries bigint, OUT exits bigint, OUT last_crossing timestamptz
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog
AS $$
BEGIN
  SELECT coalesce(sum(flow.entries), 0), coalesce(sum(flow.exits), 0), max(flow.last_crossing)
    INTO entries, exits, last_crossing
  FROM occupancy.flow_30d AS flow
  WHERE flow.space = flow_of_30d.space
    AND flow.bucket >= flow_of_30d.from_time
    AND flow.bucket < flow_of_30d.to_time;
END
$$;

COMMENT ON FUNCTION occupancy.flow_of_30d(integer, timestamptz, timestamptz) IS
  'Entries, exits and the latest crossing of a space in whole buckets of 30 days that start in [from_time, to_time).';
