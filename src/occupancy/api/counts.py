"""How many people are, or were, in a space."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, tzinfo
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from occupancy import counts
from occupancy.api.dependencies import ReadsOfRequest
from occupancy.api.pagination import decode_cursor, encode_cursor
from occupancy.api.selection import MOST_SPACES, SpaceIdsQuery, space_ids
from occupancy.api.times import AtQuery, ZoneQuery, instant, zone
from occupancy.counts import Count
from occupancy.database import DEFAULT_ORGANIZATION
from occupancy.errors import InvalidInput, NotFound
from occupancy.topology.values import Id

router = APIRouter(tags=["counts"])


class CountAnswer(BaseModel):
    """The count of one space at one instant, and what it rests on."""

    space_id: str
    at: datetime = Field(description="The instant; crossings at it are included.")
    count: int = Field(description="People in the space: `net`, but never below 0.")
    net: int = Field(description="The raw number: the count of the latest reset, plus entries, minus exits.")
    entries: int = Field(description="People who walked in since the latest reset.")
    exits: int = Field(description="People who walked out since the latest reset.")
    since: datetime | None = Field(
        description="The latest reset, by statement or daily rule; null if there was none."
    )
    last_crossing: datetime | None = Field(description="The latest crossing that this answer counts.")
    aggregated_until: datetime | None = Field(
        description="Up to here whole buckets were used; after it, single crossings. Null: nothing is aggregated yet."
    )
    aggregated_crossings: int = Field(description="How many of entries and exits came from whole buckets.")
    tail_crossings: int = Field(description="How many were read as single crossings.")


class CountsAnswer(BaseModel):
    """The counts of many spaces at one instant, from one snapshot of the data."""

    at: datetime
    items: list[CountAnswer]
    next: str | None = Field(description="Cursor of the next page; null on the last.")


def _answer(count: Count, tz: tzinfo) -> CountAnswer:
    values = asdict(count)
    return CountAnswer.model_validate(
        {
            name: value.astimezone(tz) if isinstance(value, datetime) else value
            for name, value in values.items()
        }
    )


@router.get("/spaces/{space_id}/count")
async def count_at(
    request: Request,
    reads: ReadsOfRequest,
    space_id: Annotated[Id, Path()],
    at: AtQuery = None,
    tz: ZoneQuery = None,
) -> CountAnswer:
    """How many people were in the space at the instant."""
    when = instant(at, "at", request.app.state.settings.max_clock_skew)
    answered_in = zone(tz)
    count = await counts.count_at(reads, DEFAULT_ORGANIZATION, space_id, when)
    if count is None:
        raise NotFound(f"there is no space {space_id!r}", field="space_id", value=space_id)
    return _answer(count, answered_in)


@router.get("/counts")
async def counts_at(
    request: Request,
    reads: ReadsOfRequest,
    at: AtQuery = None,
    space_id: SpaceIdsQuery = None,
    parent_id: Annotated[Id | None, Query(description="The children of this space.")] = None,
    tz: ZoneQuery = None,
    limit: Annotated[int, Query(ge=1, le=MOST_SPACES)] = 100,
    cursor: Annotated[
        str | None, Query(description="`next` of the page before; send the same `at` with it.")
    ] = None,
) -> CountsAnswer:
    """The counts of many spaces at one instant: the named ones, the children of one, or all, page by page."""
    when = instant(at, "at", request.app.state.settings.max_clock_skew)
    answered_in = zone(tz)
    if space_id is not None:
        wanted = space_ids(space_id)
        if parent_id is not None:
            raise InvalidInput("give space_id or parent_id, not both", field="parent_id", value=parent_id)
        found = await counts.counts_at(reads, DEFAULT_ORGANIZATION, wanted, when)
        return CountsAnswer(
            at=when.astimezone(answered_in),
            items=[_answer(count, answered_in) for count in found],
            next=None,
        )
    after = "" if cursor is None else decode_cursor(cursor)
    found = await counts.counts_below(reads, DEFAULT_ORGANIZATION, parent_id, after, limit + 1, when)
    page = found[:limit]
    more = encode_cursor(page[-1].space_id) if len(found) > limit else None
    return CountsAnswer(
        at=when.astimezone(answered_in), items=[_answer(count, answered_in) for count in page], next=more
    )
