CREATE OR REPLACE FUNCTION occupancy.flow_table(level text) RETURNS regclass
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)::regclass
  FROM timescaledb_information.continuous_aggregates
  WHERE view_schema = 'occupancy' AND view_name = 'flow_' || level
$$;

COMMENT ON FUNCTION occupancy.flow_table(text) IS
  'The hypertable in which TimescaleDB keeps the rows of flow_15m, flow_1d or flow_30d.';
