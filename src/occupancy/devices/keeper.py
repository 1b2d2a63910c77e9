"""Where heartbeats go: those that come together are written together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from occupancy.database import Database
from occupancy.devices.heartbeats import ParsedHeartbeats
from occupancy.devices.store import Kept, keep_together
from occupancy.errors import Busy
from occupancy.ingest.group import GroupCommit
from occupancy.settings import Settings

# Seconds for one statement.
_TIME_LIMIT = 15.0


@dataclass(frozen=True, slots=True)
class _Request:
    organization: int
    parsed: ParsedHeartbeats


class Keeper:
    """Keeps the heartbeats of many requests in one transaction, by a connection of its own."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._group: GroupCommit[_Request, Kept] = GroupCommit(
            self._write,
            size=lambda request: len(request.parsed.heartbeats) + len(request.parsed.reports),
            most_per_group=settings.max_events_per_transaction,
            most_waiting=settings.max_events_waiting,
            most_items=settings.max_requests_waiting,
            longest_wait=settings.max_wait.total_seconds(),
            # One is enough for a fleet, and two would wait for each other's rows.
            writers=1,
            blames=_is_about_one,
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, settings: Settings) -> AsyncIterator[Keeper]:
        """On the database at `url`; at the end, all that was taken is written. Raises DatabaseUnavailable."""
        database = await Database.connect(url, 1, time_limit=_TIME_LIMIT)
        try:
            keeper = cls(database, settings)
            try:
                yield keeper
            finally:
                await keeper._group.close()
        finally:
            await database.close()

    def require_room(self) -> None:
        """Raise Overloaded where no further heartbeat is taken now."""
        self._group.require_room(1)

    async def put(self, organization: int, parsed: ParsedHeartbeats) -> Kept:
        """Keep the heartbeats and what they say was sent: returning means committed.

        Raises Overloaded where too many wait already, and DatabaseUnavailable or Busy where they cannot be kept now.
        """
        return await self._group.put(_Request(organization, parsed))

    async def _write(self, group: Sequence[_Request]) -> Sequence[Kept | Exception]:
        results: list[Kept | Exception] = [Busy("not written")] * len(group)
        for organization in {request.organization for request in group}:
            places = [place for place, request in enumerate(group) if request.organization == organization]
            kept = await self._keep(organization, [group[place].parsed for place in places])
            for place, result in zip(places, kept, strict=True):
                results[place] = result
        return results

    async def _keep(self, organization: int, requests: Sequence[ParsedHeartbeats]) -> list[Kept]:
        async with self._database.connection() as connection:
            if not any(len(request.reports) for request in requests):
                # One statement is a transaction of its own: two round trips less.
                return await keep_together(connection, organization, requests)
            async with connection.transaction():
                return await keep_together(connection, organization, requests)


def _is_about_one(error: Exception) -> bool:
    return isinstance(error, asyncpg.DataError | asyncpg.IntegrityConstraintViolationError)
