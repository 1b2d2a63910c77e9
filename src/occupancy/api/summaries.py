"""What a range of time comes down to: a typical week, the fullest spaces, the busiest doorways."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from occupancy.api.dependencies import ReadsOfRequest
from occupancy.api.selection import SpaceIdsQuery, scope_of
from occupancy.api.series import CalendarQuery, CourseOfSpaceAnswer, course_values
from occupancy.api.spaces import SpaceIdPath
from occupancy.api.times import EndQuery, HoursQuery, StartQuery, ZoneQuery, time_range, zone
from occupancy.database import DEFAULT_ORGANIZATION
from occupancy.errors import InvalidInput
from occupancy.history.spaces import find_space
from occupancy.history.summaries import RangeQuestion, Rank, entries_by_doorway, profile, rank, top
from occupancy.topology.values import Id

router = APIRouter(tags=["history"])

# Every hour of it is computed for one answer.
_LONGEST_PROFILE = timedelta(days=3660)


class TypicalHourAnswer(BaseModel):
    """An hour of the week, over all of its occurrences in the range."""

    weekday: int = Field(description="ISO: 1 is Monday.")
    hour: int = Field(description="Local hour that it begins, 0 to 23.")
    mean: float = Field(description="The mean of the count over time.")
    peak: int = Field(description="The highest count at any instant.")
    mean_peak: float = Field(description="The mean of the highest counts of each occurrence.")
    seconds: float = Field(description="For how long it was looked at in all.")
    utilization: float | None = Field(description="`mean` over the capacity; null without one.")
    peak_utilization: float | None = Field(description="`peak` over the capacity; null without one.")


class ProfileAnswer(BaseModel):
    """The typical week of a space: the hours that are in the range, Monday first."""

    space_id: str
    start: datetime
    end: datetime
    time_zone: str = Field(description="Whose weekdays and hours they are.")
    items: list[TypicalHourAnswer]


class RankedSpace(CourseOfSpaceAnswer):
    """A space in the ranking, with how its count ran in the range."""

    rank: int = Field(description="Its place, from 1.")
    value: float = Field(description="The value by which it is ranked.")


class TopAnswer(BaseModel):
    """Spaces with the highest value first."""

    by: Rank
    start: datetime
    end: datetime
    items: list[RankedSpace]


class DoorwayFlowAnswer(BaseModel):
    """How many walked through a doorway into and out of the space."""

    doorway_id: str
    entries: int
    exits: int


class EntriesByDoorwayAnswer(BaseModel):
    """The doorways that led into the space, in the order of their ids."""

    space_id: str
    start: datetime
    end: datetime
    items: list[DoorwayFlowAnswer]


@router.get("/spaces/{space_id}/profile")
async def profile_of_space(
    request: Request,
    reads: ReadsOfRequest,
    space_id: SpaceIdPath,
    start: StartQuery,
    end: EndQuery = None,
    tz: CalendarQuery = None,
    hours: HoursQuery = None,
) -> ProfileAnswer:
    """The typical week of the space: for each weekday and local hour, mean and highest counts over the range.

    The range is widened to whole hours, and at most ten years long.
    """
    since, until = time_range(start, end, request.app.state.settings.max_clock_skew)
    if until - since > _LONGEST_PROFILE:
        raise InvalidInput(
            f"start is more than {_LONGEST_PROFILE.days} days before end", field="start", value=start
        )
    answered_in = zone(tz)
    space = await find_space(reads, DEFAULT_ORGANIZATION, space_id)
    hours_of_week = await profile(reads, space.id, RangeQuestion(since, until, tz, hours))
    return ProfileAnswer(
        space_id=space_id,
        start=since.astimezone(answered_in),
        end=until.astimezone(answered_in),
        time_zone=tz or space.time_zone,
        items=[TypicalHourAnswer.model_validate(asdict(hour)) for hour in hours_of_week],
    )


@router.get("/top")
async def top_spaces(
    *,
    request: Request,
    reads: ReadsOfRequest,
    by: Annotated[
        Rank, Query(description="What to rank by: of the count, or of it over the capacity; or entries.")
    ] = "peak",
    space_id: SpaceIdsQuery = None,
    parent_id: Annotated[Id | None, Query(description="This space and all below it.")] = None,
    start: StartQuery,
    end: EndQuery = None,
    tz: Annotated[
        str | None,
        Query(
            description="IANA time zone of `hours` and of the times in the answer; default: each space's own, and UTC."
        ),
    ] = None,
    hours: HoursQuery = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most spaces in the answer.")] = 10,
) -> TopAnswer:
    """The spaces with the highest values over the whole range; those without the value are left out."""
    since, until = time_range(start, end, request.app.state.settings.max_clock_skew)
    answered_in = zone(tz)
    scope = await scope_of(reads, space_id, parent_id)
    courses = await top(reads, scope, RangeQuestion(since, until, tz, hours), by, limit)
    return TopAnswer(
        by=by,
        start=since.astimezone(answered_in),
        end=until.astimezone(answered_in),
        items=[
            RankedSpace.model_validate(
                {"rank": place, "value": rank(course, by), **course_values(course, answered_in)}
            )
            for place, course in enumerate(courses, 1)
        ],
    )


@router.get("/spaces/{space_id}/entries-by-doorway")
async def entries_of_doorways(
    request: Request,
    reads: ReadsOfRequest,
    space_id: SpaceIdPath,
    start: StartQuery,
    end: EndQuery = None,
    tz: ZoneQuery = None,
) -> EntriesByDoorwayAnswer:
    """How many walked into and out of the space through each of its doorways, from the single crossings.

    What a DPU saw counts at the doorway over which it hung then.
    """
    since, until = time_range(start, end, request.app.state.settings.max_clock_skew)
    answered_in = zone(tz)
    space = await find_space(reads, DEFAULT_ORGANIZATION, space_id)
    flows = await entries_by_doorway(reads, space.id, since, until)
    return EntriesByDoorwayAnswer(
        space_id=space_id,
        start=since.astimezone(answered_in),
        end=until.astimezone(answered_in),
        items=[DoorwayFlowAnswer.model_validate(asdict(flow)) for flow in flows],
    )
