"""How the count of spaces ran, bucket by bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from occupancy.history.faults import naming
from occupancy.history.interval import sql_interval
from occupancy.history.spaces import Scope, Space, spaces_from
from occupancy.reader import Reader, Statements

# More in one statement gain nothing.
_MOST_SPACES = 500


@dataclass(frozen=True, slots=True)
class Course:
    """How the count of a space ran in one bucket (times are aware, UTC; durations in seconds)."""

    space_id: str
    start: datetime
    end: datetime
    seconds: float
    first: int
    last: int
    min: int
    max: int
    mean: float
    net_min: int
    entries: int
    exits: int
    utilization: float | None
    peak_utilization: float | None

    @classmethod
    def of(cls, row: asyncpg.Record) -> Course:
        """The bucket in a row of occupancy.series or occupancy.totals, with the caller's id of the space."""
        return cls(row["space_id"], *list(row.values())[2:])


@dataclass(frozen=True, slots=True)
class SeriesQuestion:
    """Which buckets: those of a width (`15m`, `1mo`) that overlap [start, end), aware instants.

    By the calendar of `tz` (each space's own, if None), while `hours` are open (always, if None).
    """

    start: datetime
    end: datetime
    interval: str
    tz: str | None = None
    hours: str | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: at a bucket of a space (aware instant), or at the first one of it (None)."""

    space_id: str
    start: datetime | None


@dataclass(frozen=True, slots=True)
class SeriesPage:
    """The buckets of a page, by space and start, and where the next page begins; None: nowhere."""

    items: list[Course]
    next: Position | None


async def series_page(
    reader: Reader, scope: Scope, question: SeriesQuestion, at: Position | None, most: int
) -> SeriesPage:
    """The buckets of the spaces of a scope from a position on, at most `most`: many spaces, or a part of one.

    A page may hold fewer, even none, though there is another: buckets in which it was never open are left out.
    Raises InvalidInput for an interval, hours or a time zone that the database refuses.
    """
    width = sql_interval(question.interval)
    given = {"interval": question.interval, "hours": question.hours, "tz": question.tz}
    from_id = "" if at is None else at.space_id
    with naming(given):
        async with reader.connection() as connection:
            spaces = await spaces_from(connection, scope, from_id, _MOST_SPACES + 1)
            if not spaces:
                return SeriesPage([], None)
            page = _Page(connection, question, width, most)
            # A space that was removed meanwhile is gone: the next one starts from the beginning.
            if at is not None and at.start is not None and spaces[0].space_id == at.space_id:
                return await page.part_of_one(spaces, at.start)
            whole = await page.that_fit_whole(spaces)
            if not whole:
                return await page.part_of_one(spaces, question.start)
            return SeriesPage(
                await page.courses(whole, question.start, question.end), _first_of(spaces[len(whole) :])
            )


async def series_pages(
    reader: Reader, scope: Scope, question: SeriesQuestion, at: Position | None, most: int
) -> AsyncIterator[list[Course]]:
    """All buckets from a position on, a page at a time; between two pages no connection is held."""
    while True:
        page = await series_page(reader, scope, question, at, most)
        yield page.items
        if page.next is None:
            return
        at = page.next


class _Page:
    """The statements of one page."""

    def __init__(self, connection: Statements, question: SeriesQuestion, width: str, most: int) -> None:
        self._connection = connection
        self._question = question
        self._width = width
        self._most = most

    async def that_fit_whole(self, spaces: Sequence[Space]) -> Sequence[Space]:
        """The first spaces whose buckets of the whole range fit into the page together."""
        buckets: dict[str, int] = {}
        left_over = self._most
        for number, space in enumerate(spaces[:_MOST_SPACES]):
            zone = self._question.tz or space.time_zone
            if zone not in buckets:
                cuts = await self._first_cuts(zone, self._question.start)
                # what goes on behind these cuts fits into no page
                buckets[zone] = len(cuts) - 1 if cuts[-1] >= self._question.end else self._most + 1
            left_over -= buckets[zone]
            if left_over < 0:
                return spaces[:number]
        return spaces[:_MOST_SPACES]

    async def part_of_one(self, spaces: Sequence[Space], start: datetime) -> SeriesPage:
        """The buckets of the first space from an instant on, as many as fit."""
        space = spaces[0]
        cuts = await self._first_cuts(self._question.tz or space.time_zone, start)
        following = (
            Position(space.space_id, cuts[-1]) if cuts[-1] < self._question.end else _first_of(spaces[1:])
        )
        return SeriesPage(await self.courses([space], cuts[0], cuts[-1]), following)

    async def courses(self, spaces: Sequence[Space], start: datetime, end: datetime) -> list[Course]:
        """The buckets of spaces that overlap [start, end), by space and start."""
        rows = await self._connection.fetch(
            """
            SELECT space.space_id, course.*
            FROM occupancy.series($1, $2, $3, $4::text::interval, $5, $6) AS course
            JOIN occupancy.space ON space.id = course.space
            ORDER BY space.space_id, course.bucket_start
            """,
            [space.id for space in spaces],
            start,
            end,
            self._width,
            self._question.tz,
            self._question.hours,
        )
        return [Course.of(row) for row in rows]

    async def _first_cuts(self, zone: str, start: datetime) -> list[datetime]:
        cuts: list[datetime] = await self._connection.fetchval(
            "SELECT occupancy.first_cuts($1, $2, $3::text::interval, $4, $5)",
            start,
            self._question.end,
            self._width,
            zone,
            self._most,
        )
        return cuts


def _first_of(spaces: Sequence[Space]) -> Position | None:
    return Position(spaces[0].space_id, None) if spaces else None
