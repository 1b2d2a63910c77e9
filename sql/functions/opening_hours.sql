CREATE OR REPLACE FUNCTION occupancy.opening_hours(hours text)
RETURNS TABLE (weekday integer, opens time, closes time)
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  names CONSTANT text[] := '{mon,tue,wed,thu,fri,sat,sun}';
  rule text;
  part text[];
  days integer[];
  span text;
  ends text[];
  first_day integer;
  last_day integer;
BEGIN
  -- an empty text is one rule that says nothing, not none
  FOREACH rule IN ARRAY regexp_split_to_array(hours, ';') LOOP
    part := regexp_match(
      lower(rule), '^\s*([a-z]{3}(?:\s*-\s*[a-z]{3})?(?:\s*,\s*[a-z]{3}(?:\s*-\s*[a-z]{3})?)*)?\s*'
        '(\d{1,2}:\d\d\s*-\s*\d{1,2}:\d\d(?:\s*,\s*\d{1,2}:\d\d\s*-\s*\d{1,2}:\d\d)*)?\s*$');
    IF part IS NULL OR (part[1] IS NULL AND part[2] IS NULL) THEN
      RAISE EXCEPTION 'opening hours are written like "Mon-Fri 08:00-18:00; Sat 10:00-12:00,13:00-16:00", not "%"', rule
        USING ERRCODE = 'invalid_parameter_value', COLUMN = 'hours';
    END IF;

    days := '{}';
    FOREACH span IN ARRAY string_to_array(coalesce(part[1], 'mon-sun'), ',') LOOP
      ends := regexp_match(span, '^\s*(\w+)(?:\s*-\s*(\w+))?\s*$');
      first_day := array_position(names, ends[1]);
      last_day := array_position(names, coalesce(ends[2], ends[1]));
      IF first_day IS NULL OR last_day IS NULL THEN
        RAISE EXCEPTION '"%" does not name weekdays: they are Mon, Tue, Wed, Thu, Fri, Sat, Sun', trim(span)
          USING ERRCODE = 'invalid_parameter_value', COLUMN = 'hours';
      END IF;
      -- Fri-Mon is four days
      days := days || ARRAY(SELECT (first_day - 1 + d) % 7 + 1 FROM generate_series(0, (last_day - first_day + 7) % 7) AS d);
    END LOOP;

    FOREACH span IN ARRAY string_to_array(coalesce(part[2], '00:00-24:00'), ',') LOOP
      ends := regexp_match(span, '(\d+:\d+)\s*-\s*(\d+:\d+)');
      BEGIN
        opens := ends[1]::time;
        closes := ends[2]::time;
      EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
        RAISE EXCEPTION '"%" are no times of day', trim(span)
          USING ERRCODE = 'invalid_parameter_value', COLUMN = 'hours';
      END;
      FOREACH weekday IN ARRAY days LOOP
        RETURN NEXT;
      END LOOP;
    END LOOP;
  END LOOP;
END
$$;

COMMENT ON FUNCTION occupancy.opening_hours(text) IS
  'Opening hours in words: rules separated by semicolons, each weekdays (all, if left out), times (the whole day, if '
  'left out), or both. weekday: 1 is Monday, on which it opens; a time to close that is not after the one to open is '
  'on the next day. Raises invalid_parameter_value.';
