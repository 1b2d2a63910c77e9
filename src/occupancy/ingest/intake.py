"""All that the service's endpoints hand events to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from occupancy.database import Database, Ingested
from occupancy.ingest.limit import RateLimit
from occupancy.ingest.once import Answered, KeyedRequest, Once
from occupancy.ingest.sink import BoundedSink
from occupancy.ingest.writer import Writer
from occupancy.kafka.sink import KafkaSink
from occupancy.parse import Parsed
from occupancy.settings import Settings

# Seconds for one statement: the barrier of a refresh may take 2.
_TIME_LIMIT = 15.0
# More than that barrier may last.
_LOCK_TIMEOUT = "3s"
_MOST_PARSED_AT_ONCE = 2


class Intake:
    """Admits requests, and stores their events.

    Without `once` events go into a log, to be stored later; then a repetition needs no memory of the first.
    """

    def __init__(self, sink: BoundedSink, once: Once | None, limit: RateLimit) -> None:
        self._sink = sink
        self._once = once
        self._limit = limit
        # What decoding makes of a small body may be large: few at a time.
        self.parsing = asyncio.Semaphore(_MOST_PARSED_AT_ONCE)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, settings: Settings, *, hold: bool = False) -> AsyncIterator[Intake]:
        """An intake on the database at `url`, with connections of its own: counts do not wait for events. Or on Kafka.

        `hold`: see Writer. At the end, all that was taken is written. Raises DatabaseUnavailable.
        """
        limit = RateLimit(settings.max_events_per_second)
        if settings.ingest == "kafka":
            async with KafkaSink(settings) as sink:
                yield cls(sink, None, limit)
            return
        # two more: one for old events, one for requests with keys
        database = await Database.connect(
            url, settings.ingest_writers + 2, time_limit=_TIME_LIMIT, lock_timeout=_LOCK_TIMEOUT
        )
        try:
            async with Writer(database, settings, hold=hold) as writer, Once(database, settings) as once:
                yield cls(writer, once, limit)
        finally:
            await database.close()

    @property
    def waiting(self) -> int:
        """How many events wait to be written."""
        return self._sink.waiting

    @property
    def only_queues(self) -> bool:
        """Whether events are stored later, by a worker."""
        return self._once is None

    async def is_independent(self) -> bool:
        """Whether events are taken without the database: into a log whose brokers answer now."""
        return isinstance(self._sink, KafkaSink) and await self._sink.is_reachable()

    def require_room(self) -> None:
        """Raise Overloaded where no further event is taken now."""
        self._sink.require_room()

    async def put(self, organization: int, parsed: Parsed) -> Ingested:
        """Store events and keep rejected ones aside; see Sink.

        Raises Overloaded also where the caller has sent more than it may.
        """
        with self._limit.taking(organization, len(parsed)):
            return await self._sink.put(organization, parsed)

    async def put_once(self, request: KeyedRequest) -> Answered:
        """Store events unless the request's key has been used; see Once."""
        if self._once is None:
            # Sent again, the events are found to be duplicates when they are stored.
            return Answered(await self.put(request.organization, request.parsed), is_repeated=False)
        with self._limit.taking(request.organization, len(request.parsed)):
            return await self._once.put(request)
