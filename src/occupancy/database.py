"""The hot path of ingest, and what every other module asks the database through; no ORM."""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, cast
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from occupancy import schema
from occupancy.errors import Busy, DatabaseUnavailable, SchemaMismatch
from occupancy.ingest.way import CAREFUL, Way
from occupancy.parse import Events, Parsed, Rejected, joined, payload_json

DEFAULT_ORGANIZATION = 1

_log = logging.getLogger(__name__)

UNREACHABLE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
_SERVER_SETTINGS = {
    "application_name": "occupancy",
    # A process that freezes inside a transaction must not hold up the refresher's barrier, or other changes, for ever.
    "idle_in_transaction_session_timeout": "10s",
}
_READ_ONLY = {"default_transaction_read_only": "on"}
# How many seconds a request waits for a connection: others wait behind it in memory.
_PATIENCE = 5.0
# How many seconds an import waits where a chunk is being compressed: that takes seconds or minutes.
_NEXT_TRY = 2.0


@dataclass(frozen=True, slots=True)
class RefreshState:
    """How far the aggregates are behind: ages in seconds (infinite before the first refresh), the others as numbers."""

    horizon_age: float
    refresh_age: float
    stale_marks: int
    held_events: int


@dataclass(slots=True)
class Ingested:
    """What became of a request's events. `rejected` are kept in rejected_event."""

    accepted: int = 0
    duplicates: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    # the places of the duplicates in the request, from 0
    duplicate_indexes: list[int] = field(default_factory=list)


def topology_engine(url: str) -> AsyncEngine:
    """An engine for the metadata. The driver reads the URL, so that whatever it takes (sslmode, ...) works here too."""

    async def connect() -> asyncpg.Connection:
        connection = await asyncpg.connect(url, server_settings=_SERVER_SETTINGS | {"lock_timeout": "5s"})
        # What a change of topology cannot correct any more.
        connection.add_log_listener(lambda _, notice: _log.warning("%s", notice))
        return connection

    return create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, pool_size=4, max_overflow=0, pool_pre_ping=True
    )


class Database:
    """A pool of connections to one database."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @classmethod
    async def connect(
        cls,
        url: str,
        connections: int = 8,
        *,
        time_limit: float = 60,
        read_only: bool = False,
        **session: str,
    ) -> Database:
        """Open a pool on the TimescaleDB at `url`; a statement may take `time_limit` seconds.

        `session` are PostgreSQL settings of its connections. `read_only`: nothing can be written, and it connects when
        it is first asked, not here. Raises DatabaseUnavailable if it cannot be reached.
        """
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=0 if read_only else 1,
                max_size=connections,
                command_timeout=time_limit,
                server_settings=_SERVER_SETTINGS | (_READ_ONLY if read_only else {}) | session,
            )
        except (*UNREACHABLE, TimeoutError, asyncpg.PostgresError, ValueError) as error:
            # a ValueError: the URL is none
            raise DatabaseUnavailable(f"the database cannot be reached: {error}") from error
        return cls(pool)

    async def close(self) -> None:
        """Close all connections, when their work is done."""
        await self._pool.close()

    @asynccontextmanager
    async def connection(self, patience: float = _PATIENCE) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the pool, waited for that many seconds.

        Raises DatabaseUnavailable where the database has gone, Busy where it does not answer in time.
        """
        try:
            async with self._pool.acquire(timeout=patience) as connection:
                yield cast("asyncpg.Connection", connection)
        # before the others: a TimeoutError is an OSError
        except TimeoutError as error:
            raise Busy("the database did not answer in time") from error
        except UNREACHABLE as error:
            # Where the database is concerns the log, not whoever asks.
            _log.warning("the database cannot be reached: %s", error)
            raise DatabaseUnavailable("the database cannot be reached") from error

    async def require_schema(self, patience: float = _PATIENCE) -> None:
        """Raise SchemaMismatch unless the database is at the revision that this version needs.

        Raises DatabaseUnavailable or Busy where it does not say so within `patience` seconds.
        """
        async with self.connection(patience) as connection:
            try:
                async with asyncio.timeout(patience):
                    missing = await schema.missing(connection)
            except TimeoutError:
                # It would be waited for again when it is given back.
                connection.terminate()
                raise
        if missing is not None:
            raise SchemaMismatch(f"the database does not fit: {missing}; run `occupancy migrate`")

    async def ingest(self, organization: int, parsed: Parsed) -> Ingested:
        """Store events and keep rejected ones aside, all in one transaction: returning means committed.

        Waits for as long as a chunk is compressed that some of them belong to.
        """
        while True:
            try:
                async with self.connection() as connection:
                    (result,) = await commit_together(connection, organization, [parsed])
            except asyncpg.LockNotAvailableError as error:
                if not is_being_compressed(error):
                    raise
                _log.warning("tried again in %s s: %s", _NEXT_TRY, error)
                await asyncio.sleep(_NEXT_TRY)
            else:
                return result

    async def refresh_state(self) -> RefreshState:
        """How far the aggregates are behind now."""
        async with self.connection() as connection:
            row = await connection.fetchrow(
                """
                SELECT extract(epoch FROM clock_timestamp() - horizon.read_before)::float8 AS horizon_age,
                  extract(epoch FROM clock_timestamp() - refresher.refreshed_at)::float8 AS refresh_age,
                  (SELECT count(*) FROM occupancy.stale) AS stale_marks,
                  (SELECT count(*) FROM occupancy.held_crossing) AS held_events
                FROM occupancy.horizon CROSS JOIN occupancy.refresher
                """
            )
        assert row is not None  # noqa: S101 -- both tables have one row
        return RefreshState(row["horizon_age"], row["refresh_age"], row["stale_marks"], row["held_events"])

    async def step(self, function: str, holder: UUID, *arguments: Any) -> Any:
        """Run one step of a refresh, a SQL function of that name, in a transaction of its own; no time limit."""
        places = ", ".join(f"${number}" for number in range(1, len(arguments) + 2))
        async with self.connection() as connection:
            return await connection.fetchval(
                f"SELECT occupancy.{function}({places})", holder, *arguments, timeout=float("inf")
            )


def is_being_compressed(error: BaseException) -> bool:
    """Whether events were not stored because somebody, such as a compression, holds the chunk that they belong to."""
    # as ingest_crossings says
    return isinstance(error, asyncpg.LockNotAvailableError) and error.table_name == "crossing"


async def store(
    connection: asyncpg.Connection, organization: int, parsed: Parsed, way: Way = CAREFUL
) -> Ingested:
    """Store events and keep rejected ones aside, in the transaction that is open on the connection."""
    (result,) = await store_together(connection, organization, [parsed], way)
    return result


async def commit_together(
    connection: asyncpg.Connection,
    organization: int,
    requests: Sequence[Parsed],
    way: Way = CAREFUL,
) -> list[Ingested]:
    """As `store_together`, in a transaction of its own: returning means committed."""
    if not any(request.rejected for request in requests):
        # One statement is a transaction of its own: two round trips less.
        return await store_together(connection, organization, requests, way)
    async with connection.transaction():
        return await store_together(connection, organization, requests, way)


async def store_together(
    connection: asyncpg.Connection,
    organization: int,
    requests: Sequence[Parsed],
    way: Way = CAREFUL,
) -> list[Ingested]:
    """Store the events of several requests at once, as `store` does; the result of each.

    `way`: how; it may learn from what it finds.
    """
    events = joined([request.events for request in requests])
    leftover = await _store_events(connection, organization, events, way)
    rejected = [event for request in requests for event in request.rejected]
    if rejected:
        await _keep(connection, organization, rejected)
    shares = _shares(leftover, [len(request.events) for request in requests])
    return [_result(request, share) for request, share in zip(requests, shares, strict=True)]


def _shares(leftover: list[asyncpg.Record], lengths: list[int]) -> list[list[tuple[int, str, str]]]:
    """What is said of each request's events: place among them from 0, code and detail."""
    ends = list(accumulate(lengths))
    shares: list[list[tuple[int, str, str]]] = [[] for _ in lengths]
    for index, code, detail in leftover:
        place = index - 1
        request = bisect_right(ends, place)
        shares[request].append((place - ends[request] + lengths[request], code, detail))
    return shares


async def _store_events(
    connection: asyncpg.Connection, organization: int, events: Events, way: Way
) -> list[asyncpg.Record]:
    if not events:
        return []
    rows: list[asyncpg.Record] = await connection.fetch(
        f"SELECT index, code, detail FROM {way.call}",
        organization,
        events.dpu_ids,
        events.times,
        events.directions,
        events.seqs,
    )
    way.found(bool(rows))
    return rows


async def _keep(connection: asyncpg.Connection, organization: int, rejected: list[Rejected]) -> None:
    await connection.execute(
        "SELECT occupancy.keep_rejected($1, $2, $3, $4::jsonb[])",
        organization,
        [event.code for event in rejected],
        # A detail may quote what was sent; text in PostgreSQL has no NUL character.
        [event.detail.replace("\x00", "") for event in rejected],
        [payload_json(event.payload) for event in rejected],
    )


def _result(parsed: Parsed, leftover: list[tuple[int, str, str]]) -> Ingested:
    indexes = parsed.events.indexes
    duplicates = [indexes[place] for place, code, _ in leftover if code == "duplicate"]
    refused = [
        Rejected(indexes[place], code, detail, None)
        for place, code, detail in leftover
        if code != "duplicate"
    ]
    return Ingested(
        accepted=len(parsed.events) - len(leftover),
        duplicates=len(duplicates),
        rejected=sorted([*parsed.rejected, *refused], key=lambda event: event.index),
        duplicate_indexes=duplicates,
    )
