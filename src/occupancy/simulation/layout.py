"""The layout document: what is declared to the service before the first event."""

from collections.abc import Iterable
from typing import Any

from occupancy.simulation.building import Building, BuildingPlan, Placement
from occupancy.simulation.clock import rfc3339


def layout(plan: BuildingPlan, building: Building, placements: Iterable[Placement]) -> dict[str, Any]:
    """Return spaces (parents first), doorways and DPUs as plain dicts and lists that go into YAML or JSON."""
    return {
        "spaces": [
            {
                "space_id": space.space_id,
                "name": space.name,
                "kind": space.kind,
                "parent_id": space.parent_id,
                "time_zone": plan.time_zone,
                "capacity": space.capacity,
                "reset_at": plan.reset_at,
            }
            for space in building.spaces
        ],
        "doorways": [
            {
                "doorway_id": doorway.doorway_id,
                "name": doorway.name,
                "side_a": doorway.side_a,
                "side_b": doorway.side_b,
            }
            for doorway in building.doorways
        ],
        "dpus": _dpus(placements),
    }


def _dpus(placements: Iterable[Placement]) -> list[dict[str, Any]]:
    dpus: dict[str, list[dict[str, Any]]] = {}
    for placement in placements:
        dpus.setdefault(placement.dpu_id, []).append(
            {
                "doorway_id": placement.doorway_id,
                "facing": placement.facing,
                "from": rfc3339(placement.start),
                "to": rfc3339(placement.end),
            }
        )
    return [{"dpu_id": dpu_id, "placements": hung} for dpu_id, hung in dpus.items()]
