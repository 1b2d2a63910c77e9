"""How the count of spaces ran, bucket by bucket."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, tzinfo
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from occupancy.api.dependencies import ReadsOfRequest
from occupancy.api.formats import FILES, WantedFormat, streamed
from occupancy.api.pagination import CursorQuery, cursor_of_another_list, decode_cursor, encode_cursor
from occupancy.api.selection import SpaceIdsQuery, scope_of
from occupancy.api.spaces import SpaceIdPath
from occupancy.api.times import EndQuery, HoursQuery, StartQuery, time_range, zone
from occupancy.database import DEFAULT_ORGANIZATION
from occupancy.export.columns import SERIES
from occupancy.export.pages import series_rows
from occupancy.history.series import Course, Position, SeriesQuestion, series_page
from occupancy.history.spaces import Scope, find_space
from occupancy.parse import parse_timestamp
from occupancy.topology.values import Id

router = APIRouter(tags=["history"])

SeriesStartQuery = Annotated[
    StartQuery,
    Query(description="RFC 3339 with an offset. The first bucket is the one that holds this instant, whole."),
]
SeriesEndQuery = Annotated[
    EndQuery,
    Query(
        description="RFC 3339 with an offset; default: now. The last bucket is the one that holds the instant before, "
        "whole. A bucket that has not ended is looked at until now, one that has not begun is left out."
    ),
]
IntervalQuery = Annotated[
    str,
    Query(
        description="How long a bucket is: a whole number and m, h, d, w, mo or y. Minutes or hours divide a day, "
        "months a year; days, weeks, months and years begin at local midnight."
    ),
]
CalendarQuery = Annotated[
    str | None,
    Query(
        description="IANA time zone of the calendar and of the times in the answer; default: the calendar is that of "
        "each space's own zone, and times are in UTC."
    ),
]
BucketsQuery = Annotated[
    int,
    Query(
        ge=1,
        le=10_000,
        description="Most buckets in the answer. There may be fewer, even none, though `next` is given.",
    ),
]


class CourseAnswer(BaseModel):
    """How the count of people ran in one bucket. Counts are never below 0; `net_min` shows the raw number."""

    start: datetime = Field(description="The first instant of the bucket.")
    end: datetime = Field(description="The first instant of the next one.")
    seconds: float = Field(description="For how long it was looked at: while it was open, and until now.")
    first: int = Field(description="The count at the first instant that was looked at.")
    last: int = Field(description="The count just before the last one.")
    min: int = Field(description="The lowest count at any instant.")
    max: int = Field(description="The highest count at any instant.")
    mean: float = Field(description="The mean of the count over time.")
    net_min: int = Field(description="The lowest raw number: below 0 where sensors have missed people.")
    entries: int = Field(description="People who walked in.")
    exits: int = Field(description="People who walked out.")
    utilization: float | None = Field(description="`mean` over the capacity; null without one.")
    peak_utilization: float | None = Field(description="`max` over the capacity; null without one.")


class CourseOfSpaceAnswer(CourseAnswer):
    """How the count of people in a space ran in one bucket."""

    space_id: str


class SeriesAnswer(BaseModel):
    """The buckets of one space, in order."""

    space_id: str
    interval: str
    time_zone: str = Field(description="Whose calendar the buckets follow.")
    items: list[CourseAnswer]
    next: str | None = Field(description="Cursor of the next page; null on the last.")


class ManySeriesAnswer(BaseModel):
    """The buckets of many spaces, by space_id and start."""

    interval: str
    time_zone: str | None = Field(
        description="Whose calendar the buckets follow; null: each space's own zone's."
    )
    items: list[CourseOfSpaceAnswer]
    next: str | None = Field(description="Cursor of the next page; null on the last.")


def course_values(course: Course, tz: tzinfo) -> dict[str, Any]:
    """The members of the answer about one bucket, times in `tz`."""
    return {
        name: value.astimezone(tz) if isinstance(value, datetime) else value
        for name, value in asdict(course).items()
    }


@router.get("/spaces/{space_id}/series", response_model=SeriesAnswer, responses=FILES)
async def series_of_space(
    *,
    request: Request,
    reads: ReadsOfRequest,
    space_id: SpaceIdPath,
    start: SeriesStartQuery,
    end: SeriesEndQuery = None,
    interval: IntervalQuery = "1h",
    tz: CalendarQuery = None,
    hours: HoursQuery = None,
    limit: BucketsQuery = 1000,
    cursor: CursorQuery = None,
    file_format: WantedFormat,
) -> SeriesAnswer | Response:
    """How many people were in the space over time: first, last, lowest, highest and mean count of each bucket.

    Any range, page by page: send the same parameters with `cursor`. The range is widened to whole buckets.
    """
    question = _question(request, start, end, interval, tz, hours)
    answered_in = zone(tz)
    at = None if cursor is None else _position(cursor, question, space_id)
    space = await find_space(reads, DEFAULT_ORGANIZATION, space_id)
    scope = Scope(DEFAULT_ORGANIZATION, [space_id])
    if file_format is not None:
        return await streamed(file_format, SERIES, answered_in, series_rows(reads, scope, question, at))
    page = await series_page(reads, scope, question, at, limit)
    return SeriesAnswer(
        space_id=space_id,
        interval=interval,
        time_zone=tz or space.time_zone,
        items=[CourseAnswer.model_validate(course_values(course, answered_in)) for course in page.items],
        next=_cursor(page.next),
    )


@router.get("/series", response_model=ManySeriesAnswer, responses=FILES)
async def series_of_many(
    *,
    request: Request,
    reads: ReadsOfRequest,
    space_id: SpaceIdsQuery = None,
    parent_id: Annotated[Id | None, Query(description="This space and all below it.")] = None,
    start: SeriesStartQuery,
    end: SeriesEndQuery = None,
    interval: IntervalQuery = "1h",
    tz: CalendarQuery = None,
    hours: HoursQuery = None,
    limit: BucketsQuery = 1000,
    cursor: CursorQuery = None,
    file_format: WantedFormat,
) -> ManySeriesAnswer | Response:
    """The series of many spaces: the named ones, a space and all below it, or all; by space_id, then start.

    Any range, page by page: send the same parameters with `cursor`. The range is widened to whole buckets.
    """
    question = _question(request, start, end, interval, tz, hours)
    answered_in = zone(tz)
    at = None if cursor is None else _position(cursor, question)
    scope = await scope_of(reads, space_id, parent_id)
    if file_format is not None:
        return await streamed(file_format, SERIES, answered_in, series_rows(reads, scope, question, at))
    page = await series_page(reads, scope, question, at, limit)
    return ManySeriesAnswer(
        interval=interval,
        time_zone=tz,
        items=[
            CourseOfSpaceAnswer.model_validate(course_values(course, answered_in)) for course in page.items
        ],
        next=_cursor(page.next),
    )


def _question(
    request: Request, start: str, end: str | None, interval: str, tz: str | None, hours: str | None
) -> SeriesQuestion:
    since, until = time_range(start, end, request.app.state.settings.max_clock_skew)
    return SeriesQuestion(since, until, interval, tz, hours)


def _cursor(position: Position | None) -> str | None:
    if position is None:
        return None
    return encode_cursor(f"{position.start.isoformat() if position.start else ''} {position.space_id}")


def _position(cursor: str, question: SeriesQuestion, space_id: str | None = None) -> Position:
    """Where a page begins; raises InvalidInput for the cursor of another question, as far as that can be seen."""
    begins, _, at_space = decode_cursor(cursor).partition(" ")
    try:
        start = parse_timestamp(begins) if begins else None
    except ValueError as error:
        raise cursor_of_another_list(cursor) from error
    outside = start is not None and not question.start < start < question.end
    if not at_space or outside or (space_id is not None and (at_space != space_id or start is None)):
        raise cursor_of_another_list(cursor)
    return Position(at_space, start)
