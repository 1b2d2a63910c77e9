CREATE OR REPLACE FUNCTION occupancy.recount_at(
  space integer, at timestamptz, OUT net bigint, OUT entries bigint, OUT exits bigint, OUT last_crossing timestamptz
)
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(base.reset_count, 0) + flow.entries - flow.exits, flow.entries, flow.exits, flow.last_crossing
  FROM occupancy.latest_reset(recount_at.space, recount_at.at) AS base
  CROSS JOIN LATERAL occupancy.flow_of_crossings(
    recount_at.space,
    coalesce(base.reset_time, '-infinity') + INTERVAL '1 microsecond',
    recount_at.at + INTERVAL '1 microsecond'
  ) AS flow
$$;

COMMENT ON FUNCTION occupancy.recount_at(integer, timestamptz) IS
  'What count_at must answer, from the raw crossings alone. Slow over a long history: for checks.';
