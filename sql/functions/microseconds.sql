CREATE OR REPLACE FUNCTION occupancy.microseconds(span interval) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
-- exact for what two instants differ by: below 285 years a double holds every microsecond
RETURN (date_part('epoch', span) * 1000000)::bigint;

COMMENT ON FUNCTION occupancy.microseconds(interval) IS
  'The length of what two instants differ by, in microseconds. Used by the definitions of the aggregates.';
