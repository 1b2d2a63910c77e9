"""A streaming replica: is it there, is it one, how far has it replayed?"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from itertools import count
from typing import Literal, TypeAlias

import asyncpg

from occupancy import schema
from occupancy.database import Database
from occupancy.errors import Busy, DatabaseUnavailable
from occupancy.reading.position import Position, Standing, standing
from occupancy.reading.samples import Sample, Samples

_log = logging.getLogger(__name__)

Reason: TypeAlias = Literal["unreachable", "not_a_replica", "behind", "position", "conflict"]

# Seconds between two looks at the replica: while nobody waits for it, and while somebody does.
_INTERVAL = 1.0
_SHORT_INTERVAL = 0.005
# Seconds within which it has to say where it stands; one that hangs is given up for as long as it does.
_PATIENCE = 1.0


class Unusable(Exception):
    """A read cannot be answered by the replica: why, in a word for figures and in a sentence."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.detail = detail

    def again(self) -> Unusable:
        """The same for another read."""
        return Unusable(self.reason, self.detail)


class Replica:
    """Connections to a replica for reads that may be asked there, and a watch on how it is.

    `wait`: for how long a read waits for a position. `max_lag`: how old an answer may be.
    """

    def __init__(
        self, url: str, database: Database, samples: Samples, wait: timedelta, max_lag: timedelta
    ) -> None:
        self._url = url
        self._database = database
        self._samples = samples
        self._wait = wait.total_seconds()
        self._max_lag = max_lag
        self._fault: Unusable | None = Unusable("unreachable", "the replica was not asked yet")
        self._standing: Standing | None = None
        self._own: asyncpg.Connection | None = None
        self._next_check = 0.0
        self._waiters: list[tuple[int, int, asyncio.Future[bool]]] = []
        self._number = count()
        self._called = asyncio.Event()

    # --- for reads ---

    async def enter(
        self, stack: AsyncExitStack, at_least: Position | None, *, may_be_old: bool
    ) -> tuple[asyncpg.Connection, Sample]:
        """A connection, given back when the stack closes, and a sample that all reads on it include.

        They include `at_least` too. `may_be_old`: however old the sample is. Raises Unusable, and Busy where all
        connections are taken for too long.
        """
        if self._fault is not None:
            raise self._fault.again()
        if at_least is not None and not await self._reaches(at_least.lsn):
            raise Unusable("position", "the replica has not replayed that far in time")
        try:
            connection = await stack.enter_async_context(self._database.connection())
        except DatabaseUnavailable as error:
            raise self.lost(error.detail) from error
        except Busy:
            # All taken, or nobody there to give a new one? The watch has noticed by now.
            if self._fault is not None:
                raise self._fault.again() from None
            raise
        server = await self._standing_of(connection)
        if at_least is not None and server.position.lsn < at_least.lsn:
            # The URL names several servers, and this one is further behind than the one that is watched.
            raise Unusable("position", "this replica has not replayed that far")
        sample = self._sample(server, may_be_old=may_be_old)
        self._note(server)
        return connection, sample

    def lost(self, detail: str) -> Unusable:
        """Note that the replica is gone, until the watch finds it again. Returns what to raise."""
        fault = Unusable("unreachable", f"the replica cannot be reached: {detail}")
        self._set_fault(fault)
        self._called.set()
        return fault.again()

    async def _standing_of(self, connection: asyncpg.Connection) -> Standing:
        try:
            async with asyncio.timeout(_PATIENCE):
                server = await standing(connection)
        except TimeoutError as error:
            # It would be waited for again when it is given back.
            with suppress(asyncpg.InterfaceError):
                connection.terminate()
            raise self.lost("it does not answer") from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise self.lost(str(error)) from error
        if server is None:
            raise Unusable("behind", "the replica has not begun to replay")
        return server

    def _sample(self, server: Standing, *, may_be_old: bool) -> Sample:
        if not self._samples.serves(server):
            raise _not_a_replica()
        sample = self._samples.reached(server)
        if sample is None:
            raise Unusable("behind", "the replica is further behind than is known")
        lag = sample.age()
        if lag > self._max_lag and not may_be_old:
            raise Unusable("behind", f"the replica is {lag.total_seconds():.1f} s behind")
        return sample

    def _note(self, server: Standing) -> None:
        if self._standing is None or self._standing.position.lsn < server.position.lsn:
            self._standing = server
            self._answer_waiters()

    async def _reaches(self, lsn: int) -> bool:
        """Whether the replica replays up to there, now or while the read may wait."""
        if self._standing is not None and self._standing.position.lsn >= lsn:
            return True
        reached: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (lsn, next(self._number), reached))
        self._called.set()
        try:
            async with asyncio.timeout(self._wait):
                return await reached
        except TimeoutError:
            return False

    # --- the watch ---

    @property
    def fault(self) -> Unusable | None:
        """Why the replica is not asked, as far as the watch knows; None: it is."""
        if self._fault is not None:
            return self._fault
        try:
            if self._standing is not None:
                self._sample(self._standing, may_be_old=False)
        except Unusable as fault:
            return fault
        return None

    @property
    def lag(self) -> timedelta | None:
        """How old what the replica holds is, as of the last look at it; None: that is not known."""
        sample = None if self._standing is None else self._samples.reached(self._standing)
        return None if sample is None else sample.age()

    async def look(self) -> None:
        """Ask the replica where it stands, on a connection of its own. Raises ValueError where the URL is none."""
        try:
            async with asyncio.timeout(_PATIENCE):
                if self._own is None:
                    self._own = await asyncpg.connect(
                        self._url, server_settings={"application_name": "occupancy watch"}
                    )
                self._set_fault(await self._fault_found(self._own))
        except ValueError:
            raise
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._let_go()
            said = str(error) or "it does not answer"
            self._set_fault(Unusable("unreachable", f"the replica cannot be reached: {said}"))
        self._answer_waiters()

    async def _fault_found(self, connection: asyncpg.Connection) -> Unusable | None:
        self._standing = server = await standing(connection)
        if server is None:
            return Unusable("behind", "the replica has not begun to replay")
        if self._samples.primary is not None and not self._samples.serves(server):
            return _not_a_replica()
        if time.monotonic() >= self._next_check:
            missing = await schema.missing(connection)
            if missing is not None:
                return Unusable("behind", f"the replica does not fit yet: {missing}")
            self._next_check = time.monotonic() + _INTERVAL
        return None

    def is_of_another_database(self) -> bool:
        """Whether the replica was asked and is of other servers, or of another database, than the primary."""
        primary, server = self._samples.primary, self._standing
        if primary is None or server is None:
            return False
        ours, theirs = primary.position.history, server.position.history
        return (ours.system, ours.database) != (theirs.system, theirs.database)

    async def watch(self) -> None:
        """Look every second, and at once and often while somebody waits for a position."""
        while True:
            try:
                await self.look()
            except Exception as error:
                _log.exception("the watch on the replica failed")
                self._let_go()
                self._set_fault(Unusable("unreachable", f"the replica cannot be watched: {error}"))
            try:
                async with asyncio.timeout(_SHORT_INTERVAL if self._waiters else _INTERVAL):
                    await self._called.wait()
            except TimeoutError:
                pass
            self._called.clear()

    def close(self) -> None:
        """Give the watch's connection up."""
        self._let_go()

    def _answer_waiters(self) -> None:
        reached = -1 if self._fault or self._standing is None else self._standing.position.lsn
        while self._waiters and (self._fault or self._waiters[0][0] <= reached or self._waiters[0][2].done()):
            lsn, _, waiter = heapq.heappop(self._waiters)
            if not waiter.done():
                waiter.set_result(lsn <= reached)

    def _set_fault(self, fault: Unusable | None) -> None:
        if (fault and fault.reason) != (self._fault and self._fault.reason):
            if fault is None:
                _log.info("reads go to the replica")
            else:
                _log.warning("reads do not go to the replica: %s", fault.detail)
        self._fault = fault

    def _let_go(self) -> None:
        if self._own is not None:
            self._own.terminate()
        self._own = None
        self._standing = None
        self._next_check = 0.0


def _not_a_replica() -> Unusable:
    return Unusable(
        "not_a_replica", "OCCUPANCY_READ_DATABASE_URL does not lead to a replica of OCCUPANCY_DATABASE_URL"
    )
