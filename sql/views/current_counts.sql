CREATE OR REPLACE VIEW bi.current_counts WITH (security_barrier) AS
SELECT
  space.space_id,
  answer.count,
  answer.net,
  space.capacity,
  answer.count::double precision / nullif(space.capacity, 0) AS utilization,
  answer.since,
  answer.last_crossing,
  now() AS at
FROM occupancy.space
CROSS JOIN LATERAL occupancy.count_of(space.id, now()) AS answer
WHERE space.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
  AND space.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible);

COMMENT ON VIEW bi.current_counts IS
  'How many people are in each space now. Every row is computed when it is asked for.';
COMMENT ON COLUMN bi.current_counts.space_id IS 'The space; see bi.spaces.';
COMMENT ON COLUMN bi.current_counts.count IS 'People in it: net, but never below 0.';
COMMENT ON COLUMN bi.current_counts.net IS 'The count of the latest reset, plus entries, minus exits since then.';
COMMENT ON COLUMN bi.current_counts.capacity IS 'How many people it is made for; null: not said.';
COMMENT ON COLUMN bi.current_counts.utilization IS 'count over the capacity; null without one.';
COMMENT ON COLUMN bi.current_counts.since IS 'The latest reset, by statement or daily rule; null if there was none.';
COMMENT ON COLUMN bi.current_counts.last_crossing IS 'The latest crossing since then that counts for it.';
COMMENT ON COLUMN bi.current_counts.at IS 'Now: the instant of the answer, the same in all rows.';
