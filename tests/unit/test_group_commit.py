"""Group commit: no delay when idle, one write for what waits, everyone's own result, nothing unbounded."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic

import pytest

from occupancy.errors import Busy, Overloaded
from occupancy.ingest.group import GroupCommit

Group = GroupCommit[int, int]


class Poison(Exception):
    """What a database says of an item that it refuses."""


class Writer:
    """Doubles numbers; keeps the groups it was given; waits for `open` before it answers."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.running = 0
        self.most_running = 0

    async def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(items))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.open.wait()
            await asyncio.sleep(0)
            if any(item < 0 for item in items):
                raise Poison(min(items))
            return [ValueError(item) if item == 13 else item * 2 for item in items]
        finally:
            self.running -= 1


@asynccontextmanager
async def grouping(
    writer: Writer,
    *,
    per_group: int = 10,
    waiting: int = 1000,
    items: int = 1000,
    longest_wait: float = 1000,
    now: Callable[[], float] = monotonic,
    writers: int = 1,
    size: Callable[[int], int] = lambda _item: 1,
    blames: Callable[[Exception], bool] = lambda error: isinstance(error, Poison),
) -> AsyncIterator[Group]:
    async with GroupCommit[int, int](
        writer, size=size, most_per_group=per_group, most_waiting=waiting, most_items=items, writers=writers,
        longest_wait=longest_wait, blames=blames, now=now,
    ) as group:  # fmt: skip
        try:
            yield group
        finally:
            # a test that fails ends all the same
            writer.open.set()


def put_all(group: Group, items: Sequence[int]) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(group.put(item)) for item in items]


async def turn() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_item_alone_is_written_at_once() -> None:
    writer = Writer()
    async with grouping(writer) as group:
        assert await group.put(1) == 2
        assert await group.put(2) == 4
    assert writer.groups == [[1], [2]]


async def test_what_comes_while_a_write_is_under_way_is_written_together() -> None:
    writer = Writer()
    writer.open.clear()
    async with grouping(writer) as group:
        tasks = put_all(group, [1])
        await turn()
        tasks += put_all(group, [2, 3, 4])
        await turn()
        assert writer.groups == [[1]]
        assert group.waiting == 3
        writer.open.set()
        assert await asyncio.gather(*tasks) == [2, 4, 6, 8]
        assert group.waiting == 0
    assert writer.groups == [[1], [2, 3, 4]]


async def test_a_group_is_not_larger_than_it_may_be() -> None:
    writer = Writer()
    writer.open.clear()
    async with grouping(writer, per_group=10, size=lambda item: item) as group:
        tasks = put_all(group, [1])
        await turn()
        tasks += put_all(group, [4, 6, 1, 25, 2])
        writer.open.set()
        await asyncio.gather(*tasks)
    assert writer.groups == [[1], [4, 6], [1], [25], [2]]


async def test_everyone_gets_its_own_result_and_its_own_error() -> None:
    writer = Writer()
    async with grouping(writer) as group:
        results = await asyncio.gather(*put_all(group, [1, 13, 3]), return_exceptions=True)
    assert (results[0], results[2]) == (2, 6)
    assert isinstance(results[1], ValueError)


async def test_a_poisonous_item_fails_alone() -> None:
    writer = Writer()
    async with grouping(writer) as group:
        results = await asyncio.gather(*put_all(group, [1, 2, -3, 4, 5, -6, 7]), return_exceptions=True)
    assert [result for result in results if not isinstance(result, BaseException)] == [2, 4, 8, 10, 14]
    assert [str(result) for result in results if isinstance(result, Poison)] == ["-3", "-6"]


async def test_a_group_is_not_split_for_what_no_item_is_to_blame_for() -> None:
    writer = Writer()
    async with grouping(writer, blames=lambda _error: False) as group:
        results = await asyncio.gather(*put_all(group, [1, -2, 3]), return_exceptions=True)
    assert all(isinstance(result, Poison) for result in results)
    assert len(writer.groups) == 1


@pytest.mark.parametrize(("waiting", "items"), [(5, 1000), (1000, 5)])
async def test_what_would_wait_too_long_is_refused_and_not_written(waiting: int, items: int) -> None:
    writer = Writer()
    writer.open.clear()
    async with grouping(writer, waiting=waiting, items=items) as group:
        first = put_all(group, [1])
        await turn()
        tasks = put_all(group, range(20, 25))
        await turn()
        with pytest.raises(Overloaded) as caught:
            await group.put(99)
        assert 1 <= caught.value.retry_after <= 30
        with pytest.raises(Overloaded):
            group.require_room(1)
        writer.open.set()
        await asyncio.gather(*first, *tasks)
        assert await group.put(100) == 200
    assert 99 not in [item for items in writer.groups for item in items]


async def test_nothing_is_taken_behind_what_has_waited_for_too_long() -> None:
    seconds = 0.0
    writer = Writer()
    writer.open.clear()
    async with grouping(writer, longest_wait=3, now=lambda: seconds) as group:
        first = put_all(group, [1])
        await turn()
        # it is being written, however long that takes, and nothing waits yet
        seconds = 10.0
        group.require_room(1)
        tasks = put_all(group, [2])
        await turn()
        seconds = 13.0
        tasks += put_all(group, [3])
        await turn()
        seconds = 13.1
        with pytest.raises(Overloaded):
            await asyncio.wait_for(group.put(99), 5)
        writer.open.set()
        await asyncio.gather(*first, *tasks)
        assert await group.put(4) == 8
    assert writer.groups == [[1], [2, 3], [4]]


async def test_an_item_larger_than_all_that_may_wait_is_taken_when_nothing_waits() -> None:
    writer = Writer()
    async with grouping(writer, waiting=5, size=lambda item: item) as group:
        assert await group.put(50) == 100


async def test_what_was_taken_is_written_before_the_end_and_nothing_after_it() -> None:
    writer = Writer()
    writer.open.clear()
    async with grouping(writer) as group:
        tasks = put_all(group, [1])
        await turn()
        tasks += put_all(group, [2, 3])
        await turn()
        closing = asyncio.create_task(group.close())
        await turn()
        with pytest.raises(Busy):
            await group.put(4)
        assert not closing.done()
        writer.open.set()
        await closing
        assert [task.result() for task in tasks] == [2, 4, 6]


async def test_who_gave_up_while_waiting_is_not_written() -> None:
    writer = Writer()
    writer.open.clear()
    async with grouping(writer) as group:
        (first,) = put_all(group, [1])
        await turn()
        second, third = put_all(group, [2, 3])
        await turn()
        second.cancel()
        await turn()
        writer.open.set()
        assert [await first, await third] == [2, 6]
    assert sorted(item for items in writer.groups for item in items) == [1, 3]


async def test_a_second_writer_helps_when_there_is_work_for_two() -> None:
    writer = Writer()
    writer.open.clear()
    async with grouping(writer, per_group=10, writers=2) as group:
        tasks = put_all(group, [1])
        await turn()
        tasks += put_all(group, range(20, 29))
        await turn()
        assert writer.running == 1
        tasks += put_all(group, [30])
        await turn()
        assert writer.running == 2
        writer.open.set()
        await asyncio.gather(*tasks)
    assert writer.most_running == 2


async def test_a_second_writer_helps_when_the_first_is_held_up() -> None:
    writer = Writer()
    writer.open.clear()
    async with grouping(writer, writers=2) as group:
        tasks = put_all(group, [1])
        await turn()
        tasks += put_all(group, [2])
        await asyncio.sleep(0.06)
        assert writer.running == 1
        tasks += put_all(group, [3])
        await turn()
        assert writer.groups == [[1], [2, 3]]
        writer.open.set()
        await asyncio.gather(*tasks)


async def test_no_item_is_forgotten_whenever_it_comes() -> None:
    chance = random.Random(5)
    writer = Writer()

    async def come(group: Group, item: int) -> int:
        for _ in range(chance.randrange(40)):
            await asyncio.sleep(0)
        return await group.put(item)

    async with grouping(writer, per_group=3, waiting=9999, items=9999, writers=2) as group:
        items = [item for item in range(2000) if item != 13]
        async with asyncio.timeout(20):
            assert await asyncio.gather(*(come(group, item) for item in items)) == [
                item * 2 for item in items
            ]
    assert sorted(item for items in writer.groups for item in items) == items
    assert all(len(items) <= 3 for items in writer.groups)
    assert writer.most_running == 2


async def test_what_weighs_nothing_takes_a_place_of_its_own() -> None:
    writer = Writer()
    writer.open.clear()
    async with grouping(writer, per_group=1, size=lambda _item: 0) as group:
        tasks = put_all(group, [1])
        await turn()
        tasks += put_all(group, [2, 3])
        writer.open.set()
        await asyncio.gather(*tasks)
    assert writer.groups == [[1], [2], [3]]
