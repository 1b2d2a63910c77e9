CREATE OR REPLACE VIEW bi.spaces WITH (security_barrier) AS
WITH RECURSIVE below AS (
  SELECT space.*, NULL::text AS parent_id, space.name AS path, ARRAY[space.space_id] AS path_ids, 0 AS depth
  FROM occupancy.space
  WHERE space.parent IS NULL
    AND space.organization >= (SELECT visible.first FROM occupancy.visible_organizations() AS visible)
    AND space.organization <= (SELECT visible.last FROM occupancy.visible_organizations() AS visible)
  UNION ALL
  SELECT space.*, below.space_id, below.path || ' / ' || space.name, below.path_ids || space.space_id, below.depth + 1
  FROM below
  JOIN occupancy.space ON space.parent = below.id
)
SELECT
  below.space_id,
  below.name,
  below.kind,
  below.parent_id,
  below.path,
  below.path_ids,
  below.depth,
  below.time_zone,
  below.capacity,
  below.reset_at
FROM below;

COMMENT ON VIEW bi.spaces IS
  'The tree of spaces: campus, building, floor, room.';
COMMENT ON COLUMN bi.spaces.space_id IS 'The space, as its owner calls it.';
COMMENT ON COLUMN bi.spaces.name IS 'For people to read.';
COMMENT ON COLUMN bi.spaces.kind IS 'For example campus, building, floor, room; any word.';
COMMENT ON COLUMN bi.spaces.parent_id IS 'The space that it is in; null at the top.';
COMMENT ON COLUMN bi.spaces.path IS 'Names from the top down to it, joined by '' / ''.';
COMMENT ON COLUMN bi.spaces.path_ids IS
  'space_id of each, from the top down to it. All spaces in one: where ''x'' = ANY (path_ids).';
COMMENT ON COLUMN bi.spaces.depth IS 'How many spaces it is in; 0 at the top.';
COMMENT ON COLUMN bi.spaces.time_zone IS 'IANA name; its days and its daily reset follow it.';
COMMENT ON COLUMN bi.spaces.capacity IS 'How many people it is made for; null: not said.';
COMMENT ON COLUMN bi.spaces.reset_at IS 'Local time of day at which it is taken to be empty; null: never.';
