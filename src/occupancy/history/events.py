"""Single crossings, as a space or a DPU saw them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import asyncpg

from occupancy.errors import NotFound
from occupancy.history.faults import naming
from occupancy.reader import Reader


@dataclass(frozen=True, slots=True)
class Event:
    """A crossing (times are aware, UTC), with the doorway over which its DPU hung then, None: none.

    `effect` is what it did to the count of the space that was asked for: 1 or -1; None where a DPU was.
    """

    timestamp: datetime
    dpu: int
    dpu_id: str
    doorway_id: str | None
    direction: int
    effect: int | None
    seq: int
    received_at: datetime

    @property
    def key(self) -> EventKey:
        """Its place in the lists."""
        return EventKey(self.timestamp, self.dpu, self.seq)


@dataclass(frozen=True, slots=True)
class EventKey:
    """The place of a crossing in the lists: its instant (aware), the number of its DPU, and seq."""

    time: datetime
    dpu: int
    seq: int


@dataclass(frozen=True, slots=True)
class EventsQuestion:
    """Which crossings: those in [start, end), aware instants, the oldest or the newest first."""

    start: datetime
    end: datetime
    newest_first: bool = False


EventPage: TypeAlias = Callable[[EventKey | None, int], Awaitable[list[Event]]]
"""The first crossings behind a key (None: from the start), at most so many."""


async def find_dpu(reader: Reader, organization: int, dpu_id: str) -> int:
    """The number of the DPU of that id. Raises NotFound if there is none."""
    async with reader.connection() as connection:
        number: int | None = await connection.fetchval(
            "SELECT id FROM occupancy.dpu WHERE organization = $1 AND dpu_id = $2", organization, dpu_id
        )
    if number is None:
        raise NotFound(f"there is no DPU {dpu_id!r}", field="dpu_id", value=dpu_id)
    return number


def events_of_space(reader: Reader, space: int, question: EventsQuestion) -> EventPage:
    """The crossings that touched the count of a space (its number), page by page."""

    async def page(after: EventKey | None, most: int) -> list[Event]:
        with naming(_given(question)):
            async with reader.connection() as connection:
                rows = await connection.fetch(
                    f"""
                    SELECT event.*, dpu.dpu_id, doorway.doorway_id
                    FROM occupancy.events_of_space($1, $2, $3, $4, $5, $6, $7, $8) AS event
                    JOIN occupancy.dpu ON dpu.id = event.dpu
                    LEFT JOIN occupancy.doorway ON doorway.id = event.doorway
                    ORDER BY {_order(question, "event.at", "event.dpu", "event.seq")}
                    """,
                    space,
                    question.start,
                    question.end,
                    *_values(after),
                    most,
                    question.newest_first,
                )
        return [_event(row, row["dpu"], row["effect"]) for row in rows]

    return page


def events_of_dpu(reader: Reader, dpu: int, question: EventsQuestion) -> EventPage:
    """The crossings that a DPU (its number) reported, page by page."""

    async def page(after: EventKey | None, most: int) -> list[Event]:
        time, _, seq = _values(after)
        with naming(_given(question)):
            async with reader.connection() as connection:
                rows = await connection.fetch(
                    f"""
                    SELECT event.*, dpu.dpu_id, doorway.doorway_id
                    FROM occupancy.events_of_dpu($1, $2, $3, $4, $5, $6, $7) AS event
                    JOIN occupancy.dpu ON dpu.id = $1
                    LEFT JOIN occupancy.doorway ON doorway.id = event.doorway
                    ORDER BY {_order(question, "event.at", "event.seq")}
                    """,
                    dpu,
                    question.start,
                    question.end,
                    time,
                    seq,
                    most,
                    question.newest_first,
                )
        return [_event(row, dpu, None) for row in rows]

    return page


async def all_pages(page: EventPage, after: EventKey | None, most: int) -> AsyncIterator[list[Event]]:
    """All crossings behind a key, a page of at most `most` at a time; between two pages no connection is held."""
    while True:
        events = await page(after, most)
        yield events
        if len(events) < most:
            return
        after = events[-1].key


def _given(question: EventsQuestion) -> dict[str, str]:
    return {"start": question.start.isoformat().replace("+00:00", "Z")}


def _order(question: EventsQuestion, *columns: str) -> str:
    direction = " DESC" if question.newest_first else ""
    return ", ".join(column + direction for column in columns)


def _values(key: EventKey | None) -> Sequence[datetime | int | None]:
    return (None, None, None) if key is None else (key.time, key.dpu, key.seq)


def _event(row: asyncpg.Record, dpu: int, effect: int | None) -> Event:
    return Event(
        timestamp=row["at"],
        dpu=dpu,
        dpu_id=row["dpu_id"],
        doorway_id=row["doorway_id"],
        direction=row["direction"],
        effect=effect,
        seq=row["seq"],
        received_at=row["received_at"],
    )
