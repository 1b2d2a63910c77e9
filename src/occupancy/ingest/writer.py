"""From requests to the database: many small ones in one transaction, a bad one by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import asyncpg

from occupancy.database import Database, Ingested, store_together
from occupancy.errors import Busy, DatabaseUnavailable, OccupancyError
from occupancy.ingest.group import GroupCommit
from occupancy.ingest.metrics import EVENTS_WAITING, GROUP_EVENTS, GROUP_SECONDS
from occupancy.parse import Events, Parsed, Rejected, halves
from occupancy.settings import Settings

_log = logging.getLogger(__name__)

# Events older than this may touch what is compressed or no longer in memory: they do not hold up new ones.
_OLD = timedelta(days=1)
# A transaction that lost against another one, or whose connection was gone, is tried again that often.
_TRIES = 3
_PAUSE = 0.05
_TRANSIENT = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)
# Classes of SQLSTATE that one event among others may cause: values, constraints, limits, features that a chunk has not.
_CLASSES_OF_DATA = {"0A", "21", "22", "23", "54", "P0", "XX"}


class TooSlow(Busy):
    """A statement did not end in its time."""


@dataclass(frozen=True, slots=True)
class _Request:
    organization: int
    parsed: Parsed


class Writer:
    """A Sink: stores events in a database, group by group.

    Old events have a lane of their own. What the database refuses is looked for by halving, and kept aside alone.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        """`database` has a connection for each writer: `settings.ingest_writers` for new events, one for old ones."""
        self._database = database
        self._recent = self._lane(settings, settings.ingest_writers)
        self._old = self._lane(settings, 1)

    def _lane(self, settings: Settings, writers: int) -> GroupCommit[_Request, Ingested]:
        return GroupCommit(
            self._write,
            size=lambda request: len(request.parsed),
            most_per_group=settings.max_events_per_transaction,
            most_waiting=settings.max_events_waiting,
            most_items=settings.max_requests_waiting,
            writers=writers,
            blames=_is_about_events,
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
        return await lane.put(_Request(organization, parsed))

    async def _write(self, group: Sequence[_Request]) -> Sequence[Ingested | Exception]:
        EVENTS_WAITING.set(self.waiting)
        GROUP_EVENTS.observe(sum(len(request.parsed) for request in group))
        with GROUP_SECONDS.time():
            return await self._write_group(group)

    async def _write_group(self, group: Sequence[_Request]) -> Sequence[Ingested | Exception]:
        if len(group) == 1:
            return [await self._write_alone(group[0].organization, group[0].parsed)]
        results: list[Ingested | Exception] = [Busy("not written")] * len(group)
        for organization in {request.organization for request in group}:
            places = [place for place, request in enumerate(group) if request.organization == organization]
            stored = await self._store(organization, [group[place].parsed for place in places])
            for place, result in zip(places, stored, strict=True):
                results[place] = result
        return results

    async def _write_alone(self, organization: int, parsed: Parsed) -> Ingested:
        try:
            (result,) = await self._store(organization, [parsed])
        except (asyncpg.PostgresError, TooSlow) as error:
            if not parsed.events or not _is_about_events(error):
                raise
            return await self._write_parts(organization, parsed, error)
        return result

    async def _write_parts(self, organization: int, parsed: Parsed, error: Exception) -> Ingested:
        if len(parsed.events) > 1:
            first, second = halves(parsed.events)
            parts = [Parsed(first, parsed.rejected), Parsed(second)]
        elif isinstance(error, TooSlow):
            # It may be the database and not the event: whoever sent it tries again.
            raise error
        else:
            _log.error("an event cannot be stored", exc_info=error)
            parts = [Parsed(Events(), [*parsed.rejected, _unstorable(parsed.events, error)])]
        whole = Ingested()
        for part in parts:
            result = await self._write_alone(organization, part)
            whole.accepted += result.accepted
            whole.duplicates += result.duplicates
            whole.rejected = sorted([*whole.rejected, *result.rejected], key=lambda event: event.index)
            whole.duplicate_indexes += result.duplicate_indexes
        return whole

    async def _store(self, organization: int, requests: Sequence[Parsed]) -> list[Ingested]:
        for left in reversed(range(_TRIES)):
            try:
                return await self._store_once(organization, requests)
            except (DatabaseUnavailable, *_TRANSIENT) as error:
                # A connection of the pool may be gone since long; what was stored all the same is a duplicate now.
                if not left:
                    raise error if isinstance(error, OccupancyError) else Busy(str(error)) from error
                await asyncio.sleep(_PAUSE)
        raise AssertionError

    async def _store_once(self, organization: int, requests: Sequence[Parsed]) -> list[Ingested]:
        async with self._database.connection() as connection:
            try:
                if not any(request.rejected for request in requests):
                    # One statement is a transaction of its own: two round trips less.
                    return await store_together(connection, organization, requests)
                async with connection.transaction():
                    return await store_together(connection, organization, requests)
            except (TimeoutError, asyncpg.QueryCanceledError) as error:
                raise TooSlow("the events were not stored in time") from error


def _is_about_events(error: Exception) -> bool:
    if isinstance(error, TooSlow):
        return True
    state = getattr(error, "sqlstate", None) if isinstance(error, asyncpg.PostgresError) else None
    return state is not None and state[:2] in _CLASSES_OF_DATA


def _unstorable(events: Events, error: Exception) -> Rejected:
    detail = f"the database refuses it: {getattr(error, 'sqlstate', None) or type(error).__name__}"
    payload = {
        "dpu_id": events.dpu_ids[0],
        "timestamp": events.times[0].astimezone(UTC).isoformat(),
        "direction": events.directions[0],
        "seq": events.seqs[0],
    }
    return Rejected(events.indexes[0], "unstorable", detail, payload)
