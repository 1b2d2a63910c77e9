"""What a range of time comes down to: a typical week, the fullest spaces, the busiest doorways."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from occupancy.history.faults import naming
from occupancy.history.series import Course
from occupancy.history.spaces import Scope, spaces_from
from occupancy.reader import Reader

Rank: TypeAlias = Literal["peak", "mean", "utilization", "peak_utilization", "entries"]

# So many in a statement: each is short, however many spaces there are.
_SPACES_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class RangeQuestion:
    """A range [start, end) of aware instants, while `hours` are open (always, if None) by local time of `tz`
    (each space's own, if None)."""

    start: datetime
    end: datetime
    tz: str | None = None
    hours: str | None = None


@dataclass(frozen=True, slots=True)
class TypicalHour:
    """An hour of the week: weekday from 1 (Monday), local hour from 0; how long it was looked at in seconds."""

    weekday: int
    hour: int
    mean: float
    peak: int
    mean_peak: float
    seconds: float
    utilization: float | None
    peak_utilization: float | None


@dataclass(frozen=True, slots=True)
class DoorwayFlow:
    """How many walked through a doorway into and out of a space."""

    doorway_id: str
    entries: int
    exits: int


async def profile(reader: Reader, space: int, question: RangeQuestion) -> list[TypicalHour]:
    """The typical week of a space (its number), by weekday and hour. Raises InvalidInput for hours or a zone."""
    with naming(_given(question), interval="start"):
        async with reader.connection() as connection:
            rows = await connection.fetch(
                "SELECT * FROM occupancy.profile($1, $2, $3, $4, $5) ORDER BY weekday, hour",
                space,
                question.start,
                question.end,
                question.tz,
                question.hours,
            )
    return [TypicalHour(*row) for row in rows]


async def top(reader: Reader, scope: Scope, question: RangeQuestion, by: Rank, most: int) -> list[Course]:
    """The spaces of the scope with the highest values, at most `most`; equal ones in the order of their ids.

    Spaces without the value (no capacity, or never open) are left out. Raises InvalidInput for hours or a zone.
    """
    best: list[Course] = []
    from_id = ""
    while True:
        with naming(_given(question), interval="start"):
            async with reader.connection() as connection:
                spaces = await spaces_from(connection, scope, from_id, _SPACES_AT_ONCE + 1)
                rows = await connection.fetch(
                    """
                    SELECT space.space_id, total.*
                    FROM occupancy.totals($1, $2, $3, $4, $5) AS total
                    JOIN occupancy.space ON space.id = total.space
                    ORDER BY space.space_id
                    """,
                    [space.id for space in spaces[:_SPACES_AT_ONCE]],
                    question.start,
                    question.end,
                    question.tz,
                    question.hours,
                )
        courses = (Course.of(row) for row in rows)
        ranked = [course for course in courses if rank(course, by) is not None]
        # the first of equal ones stays first
        best = heapq.nlargest(most, [*best, *ranked], key=lambda course: rank(course, by) or 0)
        if len(spaces) <= _SPACES_AT_ONCE:
            return best
        from_id = spaces[-1].space_id


def rank(course: Course, by: Rank) -> float | None:
    """The value by which spaces are ranked."""
    value: float | None = getattr(course, {"peak": "max"}.get(by, by))
    return value


async def entries_by_doorway(reader: Reader, space: int, start: datetime, end: datetime) -> list[DoorwayFlow]:
    """Entries into and exits from a space (its number) in [start, end), by the ids of its doorways.

    Raises InvalidInput where crossings of the range are no longer stored.
    """
    with naming({"start": _rfc3339(start)}):
        async with reader.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT doorway.doorway_id, flow.entries, flow.exits
                FROM occupancy.entries_by_doorway($1, $2, $3) AS flow
                JOIN occupancy.doorway ON doorway.id = flow.doorway
                ORDER BY doorway.doorway_id
                """,
                space,
                start,
                end,
            )
    return [DoorwayFlow(*row) for row in rows]


def _given(question: RangeQuestion) -> dict[str, str | None]:
    return {"hours": question.hours, "tz": question.tz, "start": _rfc3339(question.start)}


def _rfc3339(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
