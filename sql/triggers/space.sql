CREATE OR REPLACE TRIGGER space_waits_for_other_changes
  BEFORE INSERT OR UPDATE OR DELETE ON occupancy.space
  FOR EACH STATEMENT EXECUTE FUNCTION occupancy.on_topology_change();

-- Only an update can change effects: a new space has no doorway or child yet, one that has cannot be deleted.
CREATE OR REPLACE TRIGGER space_updated
  AFTER UPDATE ON occupancy.space
  REFERENCING OLD TABLE AS changed_from NEW TABLE AS changed_to
  FOR EACH STATEMENT EXECUTE FUNCTION occupancy.on_space_changed();
