"""Batches on their way: while one is written, the next one is fetched and read; written one by one, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")
# One being written, one ready.
_MOST = 2


class Pipeline(Generic[T]):
    """Holds at most two batches. After a fault it holds none, and takes none until the fault is taken."""

    def __init__(self, write: Callable[[T], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: deque[T] = deque()
        self._writing = False
        self._fault: BaseException | None = None
        self._moved = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """Batches that are neither stored nor given up."""
        return len(self._waiting) + self._writing

    def put(self, batch: T) -> None:
        """Add a batch; the caller has waited for room."""
        self._waiting.append(batch)
        self._moved.set()

    def give_up(self) -> None:
        """Forget what waits; what is being written goes on."""
        self._waiting.clear()

    def take_fault(self) -> BaseException | None:
        """Why a batch could not be written, once."""
        fault, self._fault = self._fault, None
        return fault

    async def room(self, seconds: float) -> bool:
        """Wait for a place, or a fault."""
        return await self._until(lambda: self.in_flight < _MOST or self._fault is not None, seconds)

    async def drained(self, seconds: float) -> bool:
        """Wait until everything is written, or given up after a fault."""
        return await self._until(lambda: self.in_flight == 0, seconds)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            while not self._waiting:
                self._moved.clear()
                await self._moved.wait()
            self._writing = True
            try:
                await self._write(self._waiting.popleft())
            except Exception as fault:
                if _is_cancelled():
                    # the driver's answer to a transaction that was cut off
                    raise asyncio.CancelledError from fault
                # What waits begins where this one would have ended.
                self._waiting.clear()
                self._fault = fault
            finally:
                self._writing = False
                self._moved.set()

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._moved.clear()
                    await self._moved.wait()
        return condition()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
