CREATE OR REPLACE TRIGGER placement_waits_for_other_changes
  BEFORE INSERT OR UPDATE OR DELETE ON occupancy.placement
  FOR EACH STATEMENT EXECUTE FUNCTION occupancy.on_topology_change();

CREATE OR REPLACE TRIGGER placement_inserted
  AFTER INSERT ON occupancy.placement
  REFERENCING NEW TABLE AS changed_to
  FOR EACH STATEMENT EXECUTE FUNCTION occupancy.on_placement_changed();

CREATE OR REPLACE TRIGGER placement_updated
  AFTER UPDATE ON occupancy.placement
  REFERENCING OLD TABLE AS changed_from NEW TABLE AS changed_to
  FOR EACH STATEMENT EXECUTE FUNCTION occupancy.on_placement_changed();

CREATE OR REPLACE TRIGGER placement_deleted
  AFTER DELETE ON occupancy.placement
  REFERENCING OLD TABLE AS changed_from
  FOR EACH STATEMENT EXECUTE FUNCTION occupancy.on_placement_changed();
