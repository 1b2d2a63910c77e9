"""Which spaces a question is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from occupancy.errors import NotFound, UnknownReference
from occupancy.reader import Reader, Statements


@dataclass(frozen=True, slots=True)
class Space:
    """A space by its own number and the caller's id, with the zone of its calendar (IANA name)."""

    id: int
    space_id: str
    time_zone: str


@dataclass(frozen=True, slots=True)
class Scope:
    """The spaces of these ids, or those below and including a space, or all of an organization."""

    organization: int
    space_ids: Sequence[str] | None = None
    parent_id: str | None = None


async def find_space(reader: Reader, organization: int, space_id: str) -> Space:
    """The space of that id. Raises NotFound if there is none."""
    async with reader.connection() as connection:
        row = await connection.fetchrow(
            "SELECT id, space_id, time_zone FROM occupancy.space WHERE organization = $1 AND space_id = $2",
            organization,
            space_id,
        )
    if row is None:
        raise NotFound(f"there is no space {space_id!r}", field="space_id", value=space_id)
    return _space(row)


async def require_scope(reader: Reader, scope: Scope) -> None:
    """Raise UnknownReference where the scope names a space that does not exist."""
    field = "parent_id" if scope.space_ids is None else "space_id"
    named = [scope.parent_id] if scope.space_ids is None else scope.space_ids
    async with reader.connection() as connection:
        unknown = await connection.fetchval(
            """
            SELECT min(wanted.space_id)
            FROM unnest($2::text[]) AS wanted (space_id)
            LEFT JOIN occupancy.space ON space.organization = $1 AND space.space_id = wanted.space_id
            WHERE space.id IS NULL
            """,
            scope.organization,
            [name for name in named if name is not None],
        )
    if unknown is not None:
        raise UnknownReference(f"there is no space {unknown!r}", field=field, value=unknown)


async def spaces_from(connection: Statements, scope: Scope, from_id: str, limit: int) -> list[Space]:
    """The spaces of the scope with ids from `from_id` on, in the order of their ids, at most `limit`."""
    rows = await connection.fetch(
        """
        SELECT space.id, space.space_id, space.time_zone
        FROM occupancy.space
        WHERE space.organization = $1
          AND ($2::text[] IS NULL OR space.space_id = ANY ($2))
          AND ($3::text IS NULL OR space.id IN (
            SELECT below.space
            FROM occupancy.space AS parent
            CROSS JOIN LATERAL occupancy.subtree(ARRAY[parent.id]) AS below
            WHERE parent.organization = $1 AND parent.space_id = $3
          ))
          AND space.space_id >= $4
        ORDER BY space.space_id
        LIMIT $5
        """,
        scope.organization,
        scope.space_ids,
        scope.parent_id,
        from_id,
        limit,
    )
    return [_space(row) for row in rows]


def _space(row: asyncpg.Record) -> Space:
    return Space(row["id"], row["space_id"], row["time_zone"])
