"""Up to where the primary has written."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from datetime import timedelta

from occupancy.database import Database
from occupancy.errors import DatabaseUnavailable
from occupancy.reading.position import Position, standing
from occupancy.reading.samples import Samples

_log = logging.getLogger(__name__)

# Seconds between two samples, while nobody asks; less where an answer may only be a little older.
_LONGEST_INTERVAL = 1.0
# Seconds within which the primary has to answer.
_PATIENCE = 2.0


class Watermark:
    """Asks the primary, by one statement at a time however many want to know, and notes each answer as a sample."""

    def __init__(self, primary: Database, samples: Samples) -> None:
        self._primary = primary
        self._samples = samples
        self._under_way: asyncio.Task[Position] | None = None
        self._next: asyncio.Task[Position] | None = None

    async def now(self) -> Position:
        """A position at or above everything that was acknowledged before the call.

        Raises DatabaseUnavailable or Busy where the primary cannot be asked.
        """
        # A statement that is under way may have looked before; whoever comes meanwhile shares the next one.
        if self._next is None:
            self._next = asyncio.create_task(self._ask_after(self._under_way))
            self._next.add_done_callback(_heard)
        return await asyncio.shield(self._next)

    async def _ask_after(self, under_way: asyncio.Task[Position] | None) -> Position:
        if under_way is not None:
            await asyncio.wait([under_way])
        self._under_way, self._next = self._next, None
        return await self._ask()

    async def _ask(self) -> Position:
        async with self._primary.connection() as connection, asyncio.timeout(_PATIENCE):
            # Before the statement: what is acknowledged while it runs may be missing from its answer.
            instant = time.monotonic_ns()
            found = await standing(connection)
        if found is None or found.is_standby:
            raise DatabaseUnavailable(
                "OCCUPANCY_DATABASE_URL leads to a standby, where nothing can be stored"
            )
        self._samples.add(instant, found)
        return found.position

    async def sample_forever(self, max_lag: timedelta) -> None:
        """Ask every second, or four times in `max_lag` if that is more often: the age of a sample is lag too.

        While the primary does not answer, answers of the replica honestly grow old.
        """
        interval = min(_LONGEST_INTERVAL, max_lag.total_seconds() / 4)
        failing = False
        while True:
            try:
                await self.now()
                failing = False
            except Exception as error:
                if not failing:
                    _log.warning("the primary's position is not known any more: %s", error)
                failing = True
            await asyncio.sleep(interval)

    async def close(self) -> None:
        """End the statements that are under way."""
        for task in (self._next, self._under_way):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task


def _heard(task: asyncio.Task[Position]) -> None:
    # Those who waited may have given up: an error is then nobody's.
    if not task.cancelled():
        task.exception()
