CREATE OR REPLACE TRIGGER doorway_waits_for_other_changes
  BEFORE INSERT OR UPDATE OR DELETE ON occupancy.doorway
  FOR EACH STATEMENT EXECUTE FUNCTION occupancy.on_topology_change();

-- Only an update can change effects: a new doorway has no placement yet, one with placements cannot be deleted.
CREATE OR REPLACE TRIGGER doorway_updated
  AFTER UPDATE ON occupancy.doorway
  REFERENCING OLD TABLE AS changed_from NEW TABLE AS changed_to
  FOR EACH STATEMENT EXECUTE FUNCTION occupancy.on_doorway_changed();
