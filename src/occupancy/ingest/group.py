"""Group commit: what comes while a write is under way is written together with the next one."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Generic, Self, TypeVar

from occupancy.errors import Busy, OccupancyError, Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)

# How long the first in the queue may wait for a writer that is held up, before another one helps.
_PATIENCE = 0.05
# The weight of the last measurement in what is known of the speed.
_NEWEST = 0.2
_LONGEST_RETRY = 30.0


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    size: int
    since: float
    answer: asyncio.Future[Result]


class GroupCommit(Generic[Item, Result]):
    """Writes items in groups, each group by one call of `write`, and gives every caller its own result.

    Nothing waits while a writer is idle: an item alone is written at once. `write` gets the items of a group and
    returns their results in order; a result may be an exception, for its caller alone. Where `write` itself fails and
    `blames` says that an item may be the cause, the group is split until it stands alone, so that it does not take
    its neighbours with it.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        size: Callable[[Item], int],
        most_per_group: int,
        most_waiting: int,
        most_items: int,
        longest_wait: float,
        writers: int,
        blames: Callable[[Exception], bool],
        now: Callable[[], float] = monotonic,
    ) -> None:
        """`size` weighs an item; a group weighs at most `most_per_group`, or is one item.

        No more than `most_items`, which weigh at most `most_waiting`, wait for a writer, and none is taken while the
        first of them has waited for `longest_wait` seconds by the clock `now`. Up to `writers` groups are written at
        the same time; the second only when there is work for two.
        """
        self._write = write
        self._size = size
        self._most_per_group = most_per_group
        self._most_waiting = most_waiting
        self._most_items = most_items
        self._longest_wait = longest_wait
        self._now = now
        self._most_writers = writers
        self._blames = blames
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._waiting = 0
        # The tasks, and how many of them still look for work: one that has seen an empty queue looks no more.
        self._writers: set[asyncio.Task[None]] = set()
        self._busy = 0
        self._closed = False
        # how much is written in a second, by all writers together; as good as unknown at first
        self._speed = float(most_per_group)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    @property
    def waiting(self) -> int:
        """The size of all that waits for a writer."""
        return self._waiting

    def require_room(self, size: int) -> None:
        """Raise Overloaded if an item of that size would have to wait behind too much."""
        if not self._queue:
            return
        if (
            self._waiting + size > self._most_waiting
            or len(self._queue) >= self._most_items
            # Whoever comes now would wait as long as the first has, and where the database is slow, callers give up.
            or self._now() - self._queue[0].since > self._longest_wait
        ):
            wait = min(max(1.0, self._waiting / self._speed), _LONGEST_RETRY)
            raise Overloaded(
                f"{self._waiting} events wait to be stored already: send it again later", retry_after=wait
            )

    async def put(self, item: Item) -> Result:
        """Write the item together with others; its result. Raises Overloaded if too much waits already."""
        # what weighs nothing still takes its place
        size = max(1, self._size(item))
        if self._closed:
            raise Busy("the service is stopping")
        self.require_room(size)
        waiting: _Waiting[Item, Result] = _Waiting(
            item, size, self._now(), asyncio.get_running_loop().create_future()
        )
        self._queue.append(waiting)
        self._waiting += size
        if self._needs_writer():
            self._busy += 1
            writer = asyncio.create_task(self._write_all())
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        return await waiting.answer

    async def close(self) -> None:
        """Take nothing more, and return when all that was taken is written."""
        self._closed = True
        while self._writers:
            await asyncio.wait(self._writers)

    def _needs_writer(self) -> bool:
        busy = self._busy
        if busy >= self._most_writers:
            return False
        # More writers make smaller groups, which cost more: one more for each group that waits whole, or for what waits
        # behind a writer that is held up.
        return (
            busy == 0
            or self._waiting >= busy * self._most_per_group
            or self._now() - self._queue[0].since > _PATIENCE
        )

    async def _write_all(self) -> None:
        try:
            while group := self._take():
                started = self._now()
                await self._write_group(group)
                written = sum(waiting.size for waiting in group)
                speed = written * self._busy / max(self._now() - started, 1e-6)
                self._speed += _NEWEST * (speed - self._speed)
        finally:
            self._busy -= 1

    def _take(self) -> list[_Waiting[Item, Result]]:
        group: list[_Waiting[Item, Result]] = []
        size = 0
        while self._queue and (not group or size + self._queue[0].size <= self._most_per_group):
            waiting = self._queue.popleft()
            self._waiting -= waiting.size
            # Whoever gave up will send it again.
            if not waiting.answer.cancelled():
                group.append(waiting)
                size += waiting.size
        return group

    async def _write_group(self, group: list[_Waiting[Item, Result]]) -> None:
        try:
            results = await self._write([waiting.item for waiting in group])
        except Exception as error:
            if len(group) > 1 and self._blames(error):
                # what is known is said to its caller
                level = logging.DEBUG if isinstance(error, OccupancyError) else logging.WARNING
                _log.log(level, "a group of %s is split: %s", len(group), error)
                middle = len(group) // 2
                await self._write_group(group[:middle])
                await self._write_group(group[middle:])
            else:
                for waiting in group:
                    _answer(waiting.answer, error)
        else:
            for waiting, result in zip(group, results, strict=True):
                _answer(waiting.answer, result)


def _answer(answer: asyncio.Future[Result], result: Result | Exception) -> None:
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
