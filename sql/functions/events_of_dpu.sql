CREATE OR REPLACE FUNCTION occupancy.events_of_dpu(
  dpu integer, from_time timestamptz, to_time timestamptz,
  after_time timestamptz, after_seq bigint, most integer, newest_first boolean
) RETURNS TABLE (
  at timestamptz, seq bigint, direction smallint, doorway integer, received_at timestamptz
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  PERFORM occupancy.require_kept(from_time);
  RETURN QUERY
  SELECT passed.at, passed.seq, passed.direction, placement.doorway, passed.received_at
  FROM occupancy.crossings_page(
    ARRAY[events_of_dpu.dpu], ARRAY[from_time], ARRAY[to_time],
    after_time, events_of_dpu.dpu, after_seq, most, newest_first) AS passed
  LEFT JOIN occupancy.placement ON placement.dpu = events_of_dpu.dpu
    AND placement.valid_from <= passed.at AND placement.valid_to > passed.at;
END
$$;

COMMENT ON FUNCTION occupancy.events_of_dpu(
  integer, timestamptz, timestamptz, timestamptz, bigint, integer, boolean) IS
  'A page (see crossings_page) of the crossings of a DPU in [from_time, to_time), and the doorway over which it hung '
  'then; null: none. Raises invalid_parameter_value where from_time lies before the crossings that are kept.';
