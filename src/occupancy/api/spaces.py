"""The tree of spaces."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from occupancy.api.dependencies import TopologyOfService
from occupancy.api.pagination import CursorQuery, LimitQuery, Page, decode_cursor, page
from occupancy.topology import SpaceAnswer, SpaceBody
from occupancy.topology.values import Id, Name

router = APIRouter(tags=["spaces"])

SpaceIdPath = Annotated[Id, Path(description="The caller's own id of the space.")]


@router.put("/spaces/{space_id}", responses={201: {"model": SpaceAnswer, "description": "The space is new."}})
async def put_space(
    space_id: SpaceIdPath, body: SpaceBody, response: Response, topology: TopologyOfService
) -> SpaceAnswer:
    """Create the space, or replace all that it holds. A new parent corrects all of history."""
    space, is_new = await topology.spaces.put(space_id, body)
    response.status_code = 201 if is_new else 200
    return space


@router.get("/spaces/{space_id}")
async def get_space(space_id: SpaceIdPath, topology: TopologyOfService) -> SpaceAnswer:
    """One space."""
    return await topology.spaces.get(space_id)


@router.get("/spaces")
async def list_spaces(
    topology: TopologyOfService,
    parent_id: Annotated[Id | None, Query(description="Only the spaces directly below this one.")] = None,
    kind: Annotated[Name | None, Query(description="Only the spaces of this kind.")] = None,
    limit: LimitQuery = 100,
    cursor: CursorQuery = None,
) -> Page[SpaceAnswer]:
    """The spaces, in the order of their ids."""
    after = None if cursor is None else decode_cursor(cursor)
    found = await topology.spaces.list(after=after, limit=limit + 1, parent_id=parent_id, kind=kind)
    return page(found, limit, lambda space: space.space_id)


@router.delete("/spaces/{space_id}", status_code=204)
async def delete_space(space_id: SpaceIdPath, topology: TopologyOfService) -> None:
    """Remove the space and its resets; refused while spaces are below it or doorways open into it."""
    await topology.spaces.delete(space_id)
