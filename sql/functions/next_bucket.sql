CREATE OR REPLACE FUNCTION occupancy.next_bucket(width interval, at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
  WHEN public.time_bucket(width, at) = at THEN at
  ELSE public.time_bucket(width, at) + width
END;

COMMENT ON FUNCTION occupancy.next_bucket(interval, timestamptz) IS
  'The first start of a bucket of this width at or after an instant.';
