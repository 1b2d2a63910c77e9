CREATE OR REPLACE VIEW bi.resets WITH (security_barrier) AS
SELECT
  space.space_id,
  stated.at,
  stated.count,
  stated.reason
FROM occupancy.space
-- Only through a visible space: see bi.crossings.
CROSS JOIN LATERAL (
  SELECT reset.at, reset.count, reset.reason, clock_timestamp() AS read_at
  FROM occupancy.reset
  WHERE reset.space = space.id
) AS stated
WHERE space.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
  AND space.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible);

COMMENT ON VIEW bi.resets IS
  'What people stated: the count of a space was so much at an instant. Daily resets are a rule: bi.spaces.reset_at.';
COMMENT ON COLUMN bi.resets.space_id IS 'The space; see bi.spaces.';
COMMENT ON COLUMN bi.resets.at IS 'The instant.';
COMMENT ON COLUMN bi.resets.count IS 'The count at it, after all crossings of that very instant.';
COMMENT ON COLUMN bi.resets.reason IS 'In the words of who stated it.';
