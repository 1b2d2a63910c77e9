"""DPUs and where they hang."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from occupancy.api.dependencies import TopologyOfService
from occupancy.api.pagination import CursorQuery, LimitQuery, Page, decode_cursor, page
from occupancy.topology import DpuAnswer, DpuBody, NewPlacement, PlacementAnswer, PlacementBody
from occupancy.topology.values import LARGEST_INTEGER, Id

router = APIRouter(tags=["dpus"])

DpuIdPath = Annotated[Id, Path(description="The caller's own id of the DPU: its serial number.")]
PlacementIdPath = Annotated[
    int, Path(ge=1, le=LARGEST_INTEGER, description="The placement_id that the service gave.")
]


@router.put("/dpus/{dpu_id}", responses={201: {"model": DpuAnswer, "description": "The DPU is new."}})
async def put_dpu(
    dpu_id: DpuIdPath, body: DpuBody, response: Response, topology: TopologyOfService
) -> DpuAnswer:
    """Create the DPU, or rename it. Its placements stay."""
    dpu, is_new = await topology.dpus.put(dpu_id, body)
    response.status_code = 201 if is_new else 200
    return dpu


@router.get("/dpus/{dpu_id}")
async def get_dpu(dpu_id: DpuIdPath, topology: TopologyOfService) -> DpuAnswer:
    """One DPU, and where it hangs now."""
    return await topology.dpus.get(dpu_id)


@router.get("/dpus")
async def list_dpus(
    topology: TopologyOfService, limit: LimitQuery = 100, cursor: CursorQuery = None
) -> Page[DpuAnswer]:
    """The DPUs, in the order of their ids, and where each hangs now."""
    after = None if cursor is None else decode_cursor(cursor)
    found = await topology.dpus.list(after=after, limit=limit + 1)
    return page(found, limit, lambda dpu: dpu.dpu_id)


@router.post("/dpus/{dpu_id}/placements", status_code=201)
async def add_placement(
    dpu_id: DpuIdPath, body: NewPlacement, topology: TopologyOfService
) -> PlacementAnswer:
    """Hang the DPU over a doorway. Its open placement, if it began earlier, ends at that instant."""
    return await topology.placements.add(dpu_id, body)


@router.get("/dpus/{dpu_id}/placements")
async def list_placements(dpu_id: DpuIdPath, topology: TopologyOfService) -> Page[PlacementAnswer]:
    """All placements of the DPU, the earliest first; always one page."""
    return Page(items=await topology.placements.list(dpu_id), next=None)


@router.put("/dpus/{dpu_id}/placements/{placement_id}")
async def replace_placement(
    dpu_id: DpuIdPath, placement_id: PlacementIdPath, body: PlacementBody, topology: TopologyOfService
) -> PlacementAnswer:
    """Correct a placement, for example turn it round: history follows."""
    return await topology.placements.replace(dpu_id, placement_id, body)


@router.delete("/dpus/{dpu_id}/placements/{placement_id}", status_code=204)
async def delete_placement(
    dpu_id: DpuIdPath, placement_id: PlacementIdPath, topology: TopologyOfService
) -> None:
    """Remove a placement: what the DPU saw in that time counts nowhere."""
    await topology.placements.delete(dpu_id, placement_id)
