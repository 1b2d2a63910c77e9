"""From requests to the database: many small ones in one transaction, a bad one by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Self

import asyncpg

from occupancy.database import Database, Ingested, commit_together, is_being_compressed
from occupancy.errors import BeingCompressed, Busy, DatabaseUnavailable, OccupancyError
from occupancy.faults import is_of_the_data
from occupancy.ingest.apart import store_apart
from occupancy.ingest.group import GroupCommit
from occupancy.ingest.metrics import EVENTS_WAITING, GROUP_EVENTS, GROUP_SECONDS
from occupancy.ingest.way import Way
from occupancy.parse import Parsed
from occupancy.settings import Settings

# Events older than this may touch what is compressed or no longer in memory: they do not hold up new ones.
_OLD = timedelta(days=1)
# A transaction that lost against another one, or whose connection was gone, is tried again that often.
_TRIES = 3
_PAUSE = 0.05
_TRANSIENT = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
# The barrier of a refresh lets nobody write, for as long as that takes.
_HELD_UP = (TimeoutError, asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError)


@dataclass(frozen=True, slots=True)
class _Request:
    organization: int
    parsed: Parsed


class Writer:
    """A Sink: stores events in a database, group by group.

    Old events have a lane of their own. What the database refuses is looked for by halving, and kept aside alone.
    Requests with events for a chunk that is being compressed are found in the same way.
    """

    def __init__(self, database: Database, settings: Settings, *, hold: bool = False) -> None:
        """`database` has a connection for each writer: `settings.ingest_writers` for new events, one for old ones.

        `hold`: see `Way`; without it, such requests are answered with BeingCompressed.
        """
        self._database = database
        self._recent = self._lane(settings, settings.ingest_writers, Way(guesses=True, holds=hold))
        # what comes this late has often come before
        self._old = self._lane(settings, 1, Way(holds=hold))

    def _lane(self, settings: Settings, writers: int, way: Way) -> GroupCommit[_Request, Ingested]:
        return GroupCommit(
            partial(self._write, way),
            size=lambda request: len(request.parsed),
            most_per_group=settings.max_events_per_transaction,
            most_waiting=settings.max_events_waiting,
            most_items=settings.max_requests_waiting,
            longest_wait=settings.max_wait.total_seconds(),
            writers=writers,
            blames=lambda error: is_of_the_data(error) or isinstance(error, BeingCompressed),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Write what was taken."""
        await self._recent.close()
        await self._old.close()

    @property
    def waiting(self) -> int:
        """How many events wait to be written."""
        return self._recent.waiting + self._old.waiting

    def require_room(self) -> None:
        """Raise Overloaded where no further event is taken now."""
        self._recent.require_room(1)

    async def put(self, organization: int, parsed: Parsed) -> Ingested:
        """See Sink."""
        if not len(parsed):
            return Ingested()
        times = parsed.events.times
        is_old = bool(times) and min(times) < datetime.now(UTC) - _OLD
        lane = self._old if is_old else self._recent
        EVENTS_WAITING.set(self.waiting)
        return await lane.put(_Request(organization, parsed))

    async def _write(self, way: Way, group: Sequence[_Request]) -> Sequence[Ingested | Exception]:
        EVENTS_WAITING.set(self.waiting)
        GROUP_EVENTS.observe(sum(len(request.parsed) for request in group))
        with GROUP_SECONDS.time():
            return await self._write_group(way, group)

    async def _write_group(self, way: Way, group: Sequence[_Request]) -> Sequence[Ingested | Exception]:
        if len(group) == 1:
            return [await self._write_alone(way, group[0])]
        results: list[Ingested | Exception] = [Busy("not written")] * len(group)
        for organization in {request.organization for request in group}:
            places = [place for place, request in enumerate(group) if request.organization == organization]
            stored = await self._store(way, organization, [group[place].parsed for place in places])
            for place, result in zip(places, stored, strict=True):
                results[place] = result
        return results

    async def _write_alone(self, way: Way, request: _Request) -> Ingested:
        async def attempt(part: Parsed) -> Ingested:
            (result,) = await self._store(way, request.organization, [part])
            return result

        return await store_apart(attempt, request.parsed)

    async def _store(self, way: Way, organization: int, requests: Sequence[Parsed]) -> list[Ingested]:
        for left in reversed(range(_TRIES)):
            try:
                return await self._store_once(way, organization, requests)
            except (DatabaseUnavailable, *_TRANSIENT) as error:
                # A connection of the pool may be gone since long; what was stored all the same is a duplicate now.
                if not left:
                    raise error if isinstance(error, OccupancyError) else Busy(str(error)) from error
                await asyncio.sleep(_PAUSE)
        raise AssertionError

    async def _store_once(self, way: Way, organization: int, requests: Sequence[Parsed]) -> list[Ingested]:
        async with self._database.connection() as connection:
            try:
                return await commit_together(connection, organization, requests, way)
            except _HELD_UP as error:
                if is_being_compressed(error):
                    raise BeingCompressed(
                        "events are for a time that is being compressed: send them again later"
                    ) from error
                # It may be the database as well as an event: nobody is to blame, and all may try again.
                raise Busy("the events were not stored in time") from error
