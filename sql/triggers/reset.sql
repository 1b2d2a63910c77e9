CREATE OR REPLACE TRIGGER reset_is_where_counts_are_known
  BEFORE INSERT OR UPDATE OF at, space ON occupancy.reset
  FOR EACH ROW EXECUTE FUNCTION occupancy.on_reset_change();
