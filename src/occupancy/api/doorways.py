"""Doorways between spaces."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from occupancy.api.dependencies import TopologyOfService
from occupancy.api.pagination import CursorQuery, LimitQuery, Page, decode_cursor, page
from occupancy.topology import DoorwayAnswer, DoorwayBody
from occupancy.topology.values import Id

router = APIRouter(tags=["doorways"])

DoorwayIdPath = Annotated[Id, Path(description="The caller's own id of the doorway.")]


@router.put(
    "/doorways/{doorway_id}", responses={201: {"model": DoorwayAnswer, "description": "The doorway is new."}}
)
async def put_doorway(
    doorway_id: DoorwayIdPath, body: DoorwayBody, response: Response, topology: TopologyOfService
) -> DoorwayAnswer:
    """Create the doorway, or replace all that it holds. Other sides correct all of history."""
    doorway, is_new = await topology.doorways.put(doorway_id, body)
    response.status_code = 201 if is_new else 200
    return doorway


@router.get("/doorways/{doorway_id}")
async def get_doorway(doorway_id: DoorwayIdPath, topology: TopologyOfService) -> DoorwayAnswer:
    """One doorway."""
    return await topology.doorways.get(doorway_id)


@router.get("/doorways")
async def list_doorways(
    topology: TopologyOfService, limit: LimitQuery = 100, cursor: CursorQuery = None
) -> Page[DoorwayAnswer]:
    """The doorways, in the order of their ids."""
    after = None if cursor is None else decode_cursor(cursor)
    found = await topology.doorways.list(after=after, limit=limit + 1)
    return page(found, limit, lambda doorway: doorway.doorway_id)


@router.delete("/doorways/{doorway_id}", status_code=204)
async def delete_doorway(doorway_id: DoorwayIdPath, topology: TopologyOfService) -> None:
    """Remove the doorway; refused while it has placements, even past ones."""
    await topology.doorways.delete(doorway_id)
