"""Single crossings: those that touched a space, and those that a DPU reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, tzinfo
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from occupancy.api.dependencies import ReadsOfRequest
from occupancy.api.dpus import DpuIdPath
from occupancy.api.formats import FILES, WantedFormat, streamed
from occupancy.api.pagination import (
    CursorQuery,
    LimitQuery,
    Page,
    cursor_of_another_list,
    decode_cursor,
    page,
)
from occupancy.api.spaces import SpaceIdPath
from occupancy.api.times import EndQuery, StartQuery, ZoneQuery, time_range, zone
from occupancy.database import DEFAULT_ORGANIZATION
from occupancy.export.columns import EVENTS_OF_DPU, EVENTS_OF_SPACE
from occupancy.export.pages import rows_of_dpu, rows_of_space
from occupancy.history.events import (
    Event,
    EventKey,
    EventsQuestion,
    events_of_dpu,
    events_of_space,
    find_dpu,
)
from occupancy.history.spaces import find_space
from occupancy.parse import parse_timestamp
from occupancy.topology.values import LARGEST_INTEGER

router = APIRouter(tags=["history"])

OrderQuery = Annotated[
    Literal["asc", "desc"], Query(description="asc: the oldest first; desc: the newest first.")
]


class EventOfDpu(BaseModel):
    """A crossing as a DPU reported it."""

    dpu_id: str
    timestamp: datetime
    doorway_id: str | None = Field(description="The doorway over which the DPU hung then; null: none.")
    direction: int = Field(description="1: towards the DPU; -1: away from it.")
    seq: int = Field(description="The device's own number; 0 if it sent none.")
    received_at: datetime = Field(description="When the service stored it: whole seconds after `timestamp`.")


class EventOfSpace(EventOfDpu):
    """A crossing that touched the count of a space."""

    effect: int = Field(description="What it did to the count of the space: 1 or -1.")


@router.get("/spaces/{space_id}/events", response_model=Page[EventOfSpace], responses=FILES)
async def list_events_of_space(
    *,
    request: Request,
    reads: ReadsOfRequest,
    space_id: SpaceIdPath,
    start: StartQuery,
    end: EndQuery = None,
    order: OrderQuery = "asc",
    tz: ZoneQuery = None,
    limit: LimitQuery = 100,
    cursor: CursorQuery = None,
    file_format: WantedFormat,
) -> Page[EventOfSpace] | Response:
    """The crossings that touched the count of the space, as its doorways and DPUs are declared now."""
    question = _question(request, start, end, order)
    answered_in = zone(tz)
    after = None if cursor is None else _key(cursor)
    space = await find_space(reads, DEFAULT_ORGANIZATION, space_id)
    events = events_of_space(reads, space.id, question)
    if file_format is not None:
        rows = rows_of_space(space_id, events, after)
        return await streamed(file_format, EVENTS_OF_SPACE, answered_in, rows)
    return _page(await events(after, limit + 1), limit, answered_in, EventOfSpace)


@router.get("/dpus/{dpu_id}/events", response_model=Page[EventOfDpu], responses=FILES)
async def list_events_of_dpu(
    *,
    request: Request,
    reads: ReadsOfRequest,
    dpu_id: DpuIdPath,
    start: StartQuery,
    end: EndQuery = None,
    order: OrderQuery = "asc",
    tz: ZoneQuery = None,
    limit: LimitQuery = 100,
    cursor: CursorQuery = None,
    file_format: WantedFormat,
) -> Page[EventOfDpu] | Response:
    """The crossings that the DPU reported, whether or not they count anywhere."""
    question = _question(request, start, end, order)
    answered_in = zone(tz)
    after = None if cursor is None else _key(cursor)
    dpu = await find_dpu(reads, DEFAULT_ORGANIZATION, dpu_id)
    events = events_of_dpu(reads, dpu, question)
    if file_format is not None:
        return await streamed(file_format, EVENTS_OF_DPU, answered_in, rows_of_dpu(events, after))
    return _page(await events(after, limit + 1), limit, answered_in, EventOfDpu)


def _question(request: Request, start: str, end: str | None, order: str) -> EventsQuestion:
    since, until = time_range(start, end, request.app.state.settings.max_clock_skew)
    return EventsQuestion(since, until, newest_first=order == "desc")


def _page(found: Sequence[Event], limit: int, tz: tzinfo, kind: type[EventOfDpu]) -> Page[Any]:
    cut = page(found, limit, lambda event: f"{event.timestamp.isoformat()} {event.dpu} {event.seq}")
    return Page(items=[_answer(event, tz, kind) for event in cut.items], next=cut.next)


def _answer(event: Event, tz: tzinfo, kind: type[EventOfDpu]) -> EventOfDpu:
    return kind.model_validate(
        {
            name: value.astimezone(tz) if isinstance(value, datetime) else value
            for name, value in asdict(event).items()
        }
    )


def _key(cursor: str) -> EventKey:
    try:
        time, dpu, seq = decode_cursor(cursor).split(" ")
        key = EventKey(parse_timestamp(time), int(dpu), int(seq))
    except ValueError as error:
        raise cursor_of_another_list(cursor) from error
    if not (0 < key.dpu <= LARGEST_INTEGER and 0 <= key.seq < 2**63):
        raise cursor_of_another_list(cursor)
    return key
