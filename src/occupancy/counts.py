"""How many people are, or were, in a space: the hot path of reading, one SQL function, no ORM."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from occupancy.errors import UnknownReference
from occupancy.history.faults import naming
from occupancy.reader import Reader


@dataclass(frozen=True, slots=True)
class Count:
    """How many people are in a space at an instant, and what the number rests on (times are aware, UTC)."""

    space_id: str
    at: datetime
    count: int
    net: int
    entries: int
    exits: int
    since: datetime | None
    last_crossing: datetime | None
    aggregated_until: datetime | None
    aggregated_crossings: int
    tail_crossings: int


async def count_at(reader: Reader, organization: int, space_id: str, at: datetime) -> Count | None:
    """The count of a space at an instant (aware datetime), None if there is no such space.

    Raises InvalidInput where the crossings that it takes are no longer stored.
    """
    async with _asking_at(at), reader.connection() as connection:
        row = await connection.fetchrow(
            """
            SELECT space.space_id, answer.*
            FROM occupancy.space
            CROSS JOIN LATERAL occupancy.count_at(space.id, $3) AS answer
            WHERE space.organization = $1 AND space.space_id = $2
            """,
            organization,
            space_id,
            at,
        )
    return None if row is None else _count(row, at)


async def counts_at(reader: Reader, organization: int, space_ids: Sequence[str], at: datetime) -> list[Count]:
    """The counts of many spaces at one instant, from one snapshot, in the order asked for.

    Raises UnknownReference for a space that does not exist, InvalidInput as count_at does.
    """
    async with _asking_at(at), reader.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT space.space_id, answer.*
            FROM unnest($2::text[]) WITH ORDINALITY AS wanted (space_id, place)
            JOIN occupancy.space ON space.organization = $1 AND space.space_id = wanted.space_id
            CROSS JOIN LATERAL occupancy.count_at(space.id, $3) AS answer
            ORDER BY wanted.place
            """,
            organization,
            list(space_ids),
            at,
        )
    missing = set(space_ids) - {row["space_id"] for row in rows}
    if missing:
        unknown = min(missing)
        raise UnknownReference(f"there is no space {unknown!r}", field="space_id", value=unknown)
    return [_count(row, at) for row in rows]


async def counts_below(
    reader: Reader, organization: int, parent_id: str | None, after: str, limit: int, at: datetime
) -> list[Count]:
    """The counts of the children of a space, or of all spaces: those with an id after `after`, at most `limit`.

    Raises UnknownReference where there is no such parent, InvalidInput as count_at does.
    """
    async with _asking_at(at), reader.connection() as connection:
        if parent_id is not None and not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM occupancy.space WHERE organization = $1 AND space_id = $2)",
            organization,
            parent_id,
        ):
            raise UnknownReference(f"there is no space {parent_id!r}", field="parent_id", value=parent_id)
        rows = await connection.fetch(
            """
            SELECT page.space_id, answer.*
            FROM (
              SELECT space.id, space.space_id
              FROM occupancy.space
              LEFT JOIN occupancy.space AS parent ON parent.id = space.parent
              WHERE space.organization = $1
                AND ($2::text IS NULL OR parent.space_id = $2)
                AND space.space_id > $3
              ORDER BY space.space_id
              LIMIT $4
            ) AS page
            CROSS JOIN LATERAL occupancy.count_at(page.id, $5) AS answer
            ORDER BY page.space_id
            """,
            organization,
            parent_id,
            after,
            limit,
            at,
        )
    return [_count(row, at) for row in rows]


def _count(row: asyncpg.Record, at: datetime) -> Count:
    until = row["aggregated_until"]
    return Count(
        space_id=row["space_id"],
        at=at,
        count=row["count"],
        net=row["net"],
        entries=row["entries"],
        exits=row["exits"],
        since=row["since"],
        last_crossing=row["last_crossing"],
        # The driver's word for -infinity: nothing is aggregated yet.
        aggregated_until=None if until is None or until.year == 1 else until,
        aggregated_crossings=row["aggregated_crossings"],
        tail_crossings=row["tail_crossings"],
    )


@asynccontextmanager
async def _asking_at(at: datetime) -> AsyncIterator[None]:
    with naming({"at": at.isoformat().replace("+00:00", "Z")}):
        yield
