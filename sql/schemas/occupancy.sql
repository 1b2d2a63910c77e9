CREATE SCHEMA IF NOT EXISTS occupancy;

COMMENT ON SCHEMA occupancy IS
  'Occupancy: spaces, doorways, DPUs, their crossings, and the counts that follow from them.';
