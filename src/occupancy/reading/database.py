"""A primary with the replica beside it, if there is one, for as long as the service runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from occupancy.database import Database
from occupancy.errors import DatabaseUnavailable, OccupancyError, ReplicaUnusable
from occupancy.reading.position import HEADER, Position
from occupancy.reading.reads import Reads, Replication
from occupancy.reading.replica import Replica
from occupancy.reading.samples import Samples
from occupancy.reading.watermark import Watermark
from occupancy.settings import Settings

_log = logging.getLogger(__name__)

LATEST = "latest"
"""In place of a token: everything acknowledged until now."""

# Seconds that an answer to a write waits for its token; it is given without one after that.
_PATIENCE = 1.0


class ReadDatabase:
    """Where reads go, of one database. A service with several databases has one of these for each."""

    def __init__(self, primary: Database, replication: Replication | None = None) -> None:
        self._primary = primary
        self.replication = replication

    def reads(self, tokens: str | None = None) -> Reads:
        """The reads of one request, which include the positions in `tokens` (separated by commas, or `latest`).

        Raises InvalidInput for what is no token.
        """
        names = [name.strip() for name in (tokens or "").split(",") if name.strip()]
        wanted = [Position.of(name) for name in names if name != LATEST]
        return Reads(self._primary, self.replication, wanted, latest=LATEST in names)

    @property
    def is_independent(self) -> bool:
        """Whether reads are answered without the primary: by a replica that is fresh enough."""
        return self.replication is not None and self.replication.replica.fault is None

    def state(self) -> dict[str, str]:
        """Who answers reads now, and why if it is not the replica; empty without one.

        Raises ReplicaUnusable where nobody may.
        """
        if self.replication is None:
            return {}
        fault = self.replication.replica.fault
        if fault is None:
            return {"reads": "replica"}
        if not self.replication.fallback:
            raise ReplicaUnusable(f"reads go to a replica only, and {fault.detail}")
        return {"reads": "primary", "detail": fault.detail}

    async def token(self) -> str | None:
        """A token at or behind everything that was committed before the call; None without a replica.

        None also where the primary does not answer: what was asked of it is done, whatever happens now.
        """
        if self.replication is None:
            return None
        try:
            async with asyncio.timeout(_PATIENCE):
                return (await self.replication.watermark.now()).token()
        except (OccupancyError, TimeoutError) as error:
            _log.warning("an answer goes without %s: %s", HEADER, error)
            return None


@asynccontextmanager
async def read_database(
    primary: Database, primary_url: str, settings: Settings
) -> AsyncIterator[ReadDatabase]:
    """The read database that the settings name, watched while the block lasts.

    Raises DatabaseUnavailable where the URL is none, or leads to another database than the primary's. A replica that is
    away, or far behind, is waited for.
    """
    if settings.read_database_url is None:
        yield ReadDatabase(primary)
        return
    url = settings.read_database_url.get_secret_value()
    async with AsyncExitStack() as stack:
        samples = Samples()
        asked = await Database.connect(primary_url, 1)
        stack.push_async_callback(asked.close)
        watermark = Watermark(asked, samples)
        stack.push_async_callback(watermark.close)
        database = await Database.connect(url, settings.read_connections, read_only=True)
        stack.push_async_callback(database.close)
        replica = Replica(url, database, samples, settings.read_wait, settings.read_max_lag)
        stack.callback(replica.close)
        await watermark.now()
        await _look_first(replica)
        for work in (watermark.sample_forever(settings.read_max_lag), replica.watch()):
            stack.push_async_callback(_ended, asyncio.create_task(work))
        fallback = settings.read_fallback == "primary"
        yield ReadDatabase(primary, Replication(samples, watermark, replica, fallback))


async def _look_first(replica: Replica) -> None:
    try:
        await replica.look()
    except ValueError as error:
        raise DatabaseUnavailable(f"OCCUPANCY_READ_DATABASE_URL is no URL of a database: {error}") from error
    if replica.is_of_another_database():
        raise DatabaseUnavailable(
            "OCCUPANCY_READ_DATABASE_URL leads to another database than OCCUPANCY_DATABASE_URL, not to a replica of it"
        )


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
