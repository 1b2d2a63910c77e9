"""A batch into the database: crossings, rejected events and offsets in one transaction."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import asyncpg

from occupancy.api.metrics import count_events
from occupancy.database import Database, Ingested, store
from occupancy.errors import OccupancyError
from occupancy.faults import is_of_the_data, is_transient
from occupancy.ingest.way import Way
from occupancy.kafka import metrics
from occupancy.kafka.batch import Batch
from occupancy.kafka.dead_letters import DeadLetters
from occupancy.kafka.offsets import Offsets
from occupancy.kafka.reading import kept_payload, read
from occupancy.parse import Parsed, Rejected
from occupancy.settings import Settings

_log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
# So many refused one after the other, with none stored between: the messages are not what is wrong.
_MOST_CONDEMNED_IN_A_ROW = 100


class DatabaseRefuses(OccupancyError):
    """The database refuses whatever it is given."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A batch that has been read."""

    batch: Batch
    parsed: Parsed


@dataclass(slots=True)
class BatchWriter:
    """Stores batches for one organization. `on_stored` hears of each batch that was committed."""

    database: Database
    settings: Settings
    offsets: Offsets
    organization: int
    dead_letters: DeadLetters | None
    on_stored: Callable[[Batch], None]
    _condemned_in_a_row: int = field(default=0, init=False)
    # A message for a chunk that is being compressed must not hold up its partition.
    _way: Way = field(default_factory=lambda: Way(guesses=True, holds=True), init=False)

    def read(self, batch: Batch) -> Ready:
        """Judge the messages of a batch."""
        clock = self.settings.clock()
        return Ready(batch, read(batch.messages, clock, self.settings.kafka_max_message_bytes))

    async def write(self, ready: Ready) -> None:
        """Store a batch; returning means committed.

        What may pass is tried again for as long as it takes. A message that the database refuses is found and kept
        aside. Raises Fenced where another worker holds one of the partitions, and whatever does not pass.
        """
        try:
            await self._write_patiently(ready)
        except Exception as error:
            if not is_of_the_data(error):
                raise
            await self._write_apart(ready.batch, error)
        else:
            self._condemned_in_a_row = 0

    async def _write_apart(self, batch: Batch, error: Exception) -> None:
        if len(batch.messages) > 1:
            for half in batch.halves():
                await self.write(self.read(half))
            return
        self._condemned_in_a_row += 1
        if self._condemned_in_a_row > _MOST_CONDEMNED_IN_A_ROW:
            raise DatabaseRefuses(
                f"the database refused {_MOST_CONDEMNED_IN_A_ROW} messages in a row; the last time: {error}"
            ) from error
        _log.error("a message cannot be stored and is kept aside", exc_info=error)
        await self._write_patiently(_condemned(batch, error))

    async def _write_patiently(self, ready: Ready) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._transaction(ready)
            except Exception as error:
                if is_of_the_data(error) or not is_transient(error):
                    raise
                metrics.retries.inc()
                _log.warning("a batch of %s is tried again: %s", len(ready.batch.messages), error)
            # not all workers at once
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _transaction(self, ready: Ready) -> None:
        began = time.perf_counter()
        result: Ingested | None = None
        async with self.database.connection() as connection, connection.transaction():
            # First, so that whoever takes the partitions over waits for this transaction, and this one for nobody.
            if await self.offsets.advance(connection, ready.batch.spans):
                result = await self._store(connection, ready.parsed)
        metrics.committed(len(ready.batch.messages), time.perf_counter() - began)
        self.on_stored(ready.batch)
        if result is not None:
            count_events(result)
            if self.dead_letters is not None and result.rejected:
                self.dead_letters.put(ready.batch.messages, result.rejected)

    async def _store(self, connection: asyncpg.Connection, parsed: Parsed) -> Ingested:
        return await store(connection, self.organization, parsed, self._way)


def _condemned(batch: Batch, error: Exception) -> Ready:
    (message,) = batch.messages
    payload = kept_payload(message.value())
    detail = f"the database refuses it: {getattr(error, 'sqlstate', None) or type(error).__name__}"
    return Ready(batch, Parsed(rejected=[Rejected(0, "unstorable", detail, payload)]))
