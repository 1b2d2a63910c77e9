"""Statements about how many people were in a space at an instant."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query

from occupancy.api.dependencies import TopologyOfService
from occupancy.api.pagination import CursorQuery, LimitQuery, Page, decode_cursor, page
from occupancy.api.spaces import SpaceIdPath
from occupancy.errors import InvalidInput
from occupancy.parse import parse_timestamp
from occupancy.topology import ResetAnswer, ResetBody
from occupancy.topology.values import LARGEST_INTEGER, Instant

router = APIRouter(tags=["resets"])

ResetIdPath = Annotated[
    int, Path(ge=1, le=LARGEST_INTEGER, description="The reset_id that the service gave.")
]


@router.post("/spaces/{space_id}/resets", status_code=201)
async def add_reset(space_id: SpaceIdPath, body: ResetBody, topology: TopologyOfService) -> ResetAnswer:
    """State how many people were in the space at an instant: counts after it start from there."""
    return await topology.resets.add(space_id, body)


@router.get("/spaces/{space_id}/resets")
async def list_resets(
    *,
    space_id: SpaceIdPath,
    topology: TopologyOfService,
    start: Annotated[
        Instant | None, Query(alias="from", description="Only those at or after this instant.")
    ] = None,
    end: Annotated[Instant | None, Query(alias="to", description="Only those before this instant.")] = None,
    limit: LimitQuery = 100,
    cursor: CursorQuery = None,
) -> Page[ResetAnswer]:
    """The resets of the space, the newest first. Daily resets are a rule of the space and not listed."""
    before = None if cursor is None else _instant_in(cursor)
    found = await topology.resets.list(space_id, before=before, limit=limit + 1, start=start, end=end)
    return page(found, limit, lambda reset: reset.at.isoformat())


@router.delete("/spaces/{space_id}/resets/{reset_id}", status_code=204)
async def delete_reset(space_id: SpaceIdPath, reset_id: ResetIdPath, topology: TopologyOfService) -> None:
    """Take a statement back."""
    await topology.resets.delete(space_id, reset_id)


def _instant_in(cursor: str) -> datetime:
    try:
        return parse_timestamp(decode_cursor(cursor))
    except ValueError as error:
        raise InvalidInput("cursor belongs to another list", field="cursor", value=cursor) from error
