"""Where the reads of one request go: to the replica, or to the primary where the replica is no use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic_ns
from typing import Any, Literal, TypeAlias, TypeVar

import asyncpg

from occupancy.database import UNREACHABLE, Database
from occupancy.errors import ReplicaUnusable
from occupancy.reader import Statements
from occupancy.reading import figures
from occupancy.reading.position import Position
from occupancy.reading.replica import Replica, Unusable
from occupancy.reading.samples import Sample, Samples
from occupancy.reading.watermark import Watermark

Source: TypeAlias = Literal["replica", "primary"]
Result = TypeVar("Result")

# What PostgreSQL ends a read on a standby with, where replay cannot wait for it any longer.
_CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_LOST = (*UNREACHABLE, asyncpg.InterfaceError)


@dataclass(frozen=True, slots=True)
class Replication:
    """A replica beside its primary. `fallback`: whether the primary answers what the replica cannot."""

    samples: Samples
    watermark: Watermark
    replica: Replica
    fallback: bool


@dataclass(frozen=True, slots=True)
class Freshness:
    """Everything acknowledged before `as_of` (aware, UTC) is in an answer; `lag` is how long that was ago."""

    as_of: datetime
    lag: timedelta
    source: Source


class Reads:
    """The reads of one request. All of them include what the first one included, and what `wanted` asks for.

    `wanted`: positions in tokens that a caller gave; with `latest`, everything acknowledged until now. Once a read
    had to go to the primary, the later ones do too.
    """

    def __init__(
        self,
        primary: Database,
        replication: Replication | None = None,
        wanted: list[Position] | None = None,
        *,
        latest: bool = False,
    ) -> None:
        self._primary = primary
        self._replication = replication
        self._wanted = wanted or []
        self._latest = latest
        self._at_least: Position | None = None
        self._first: Sample | None = None
        self._source: Source = "primary" if replication is None else "replica"

    @property
    def freshness(self) -> Freshness | None:
        """How fresh the answer is; None: nothing was read, or there is no replica."""
        if self._first is None:
            return None
        return Freshness(self._first.as_of(), self._first.age(), self._source)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Statements]:
        """A connection to the replica that gives way to the primary, statement by statement.

        Raises DatabaseUnavailable and Busy as the primary does, and ReplicaUnusable where the primary may not be asked
        in place of the replica.
        """
        if self._replication is None:
            async with self._primary.connection() as connection:
                yield connection
            return
        async with AsyncExitStack() as stack:
            switch = _Switch(self, self._replication.replica, stack)
            await switch.connect()
            yield switch

    async def enter_replica(self, replica: Replica, stack: AsyncExitStack) -> asyncpg.Connection | None:
        """A connection to the replica, None where the reads are to go to the primary."""
        assert self._replication is not None  # noqa: S101 -- there is a replica
        if self._source == "primary":
            return None
        if self._first is None:
            self._at_least = await self._asked_for(self._replication)
        try:
            connection, sample = await replica.enter(
                stack, self._at_least, may_be_old=self._first is not None
            )
        except Unusable as reason:
            await stack.aclose()
            self.turn_to_primary(reason)
            return None
        if self._first is None:
            self._first = sample
            figures.read("replica")
            at_least = max(sample.lsn, 0 if self._at_least is None else self._at_least.lsn)
            primary = self._replication.samples.primary
            assert primary is not None  # noqa: S101 -- there is a sample
            # Another connection may lead to another replica, which is further behind than this answer says.
            self._at_least = Position(primary.position.history, at_least)
        return connection

    async def enter_primary(self, stack: AsyncExitStack) -> Statements:
        """A connection to the primary."""
        connection = await stack.enter_async_context(self._primary.connection())
        if self._first is None:
            self._first = Sample(monotonic_ns(), 0)
            figures.read("primary")
        return connection

    def turn_to_primary(self, reason: Unusable) -> None:
        """Have the primary asked from now on. Raises ReplicaUnusable where it may not be."""
        assert self._replication is not None  # noqa: S101 -- there is a replica
        if not self._replication.fallback:
            figures.refused(reason.reason)
            raise ReplicaUnusable(f"reads go to a replica only, and {reason.detail}") from reason
        figures.fell_back(reason.reason)
        self._source = "primary"

    async def _asked_for(self, replication: Replication) -> Position | None:
        """The position that the caller wants to be included."""
        known = replication.samples.primary
        here = None if known is None else known.position.history
        if self._latest or any(position.history != here for position in self._wanted):
            # What is known of the positions of another database, or of this one before a failover? Nothing, except
            # that they were taken before now.
            return await replication.watermark.now()
        return max(self._wanted, key=lambda position: position.lsn, default=None)


class _Switch:
    """A connection that begins at the replica, and is one to the primary once the replica fails it."""

    def __init__(self, reads: Reads, replica: Replica, stack: AsyncExitStack) -> None:
        self._reads = reads
        self._replica = replica
        self._stack = stack
        self._on_replica: asyncpg.Connection | None = None
        self._on_primary: Statements | None = None

    async def connect(self) -> None:
        self._on_replica = await self._reads.enter_replica(self._replica, self._stack)
        if self._on_replica is None:
            self._on_primary = await self._reads.enter_primary(self._stack)

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        return await self._ask(lambda connection: connection.fetch(query, *args))

    async def fetchrow(self, query: str, *args: object) -> asyncpg.Record | None:
        return await self._ask(lambda connection: connection.fetchrow(query, *args))

    async def fetchval(self, query: str, *args: object) -> Any:
        return await self._ask(lambda connection: connection.fetchval(query, *args))

    async def _ask(self, statement: Callable[[Statements], Awaitable[Result]]) -> Result:
        if self._on_replica is not None:
            try:
                return await self._ask_twice(self._on_replica, statement)
            except Unusable as reason:
                await self._stack.aclose()
                self._on_replica = None
                self._reads.turn_to_primary(reason)
                self._on_primary = await self._reads.enter_primary(self._stack)
        assert self._on_primary is not None  # noqa: S101 -- one of the two is there
        return await statement(self._on_primary)

    async def _ask_twice(
        self, connection: asyncpg.Connection, statement: Callable[[Statements], Awaitable[Result]]
    ) -> Result:
        try:
            return await statement(connection)
        except _CONFLICTS:
            figures.conflict()
        except _LOST as error:
            if not _is_lost(connection, error):
                raise
            raise self._replica.lost(str(error)) from error
        try:
            return await statement(connection)
        except _CONFLICTS as error:
            figures.conflict()
            raise Unusable("conflict", f"a read was ended there twice: {error}") from error
        except _LOST as error:
            if not _is_lost(connection, error):
                raise
            # The conflict has ended the connection, not the statement alone; the replica is there.
            raise Unusable("conflict", f"a read was ended there: {error}") from error


def _is_lost(connection: asyncpg.Connection, error: Exception) -> bool:
    """Not where a statement takes too long (a TimeoutError is an OSError), or where its values do not fit."""
    if isinstance(error, TimeoutError):
        return False
    if not isinstance(error, asyncpg.InterfaceError):
        return True
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        # The server ended it, and the pool has taken it away.
        return True
