"""A bounded queue: what it holds, when it is full, and when it wakes whom."""

from __future__ import annotations

import asyncio

from occupancy.mqtt.inbox import Inbox
from occupancy.mqtt.message import Message


class _Nobody:
    def acknowledge(self, message: Message) -> bool:  # noqa: ARG002
        return True


def message(size: int = 10) -> Message:
    return Message(b"", b"x" * size, 1, 1, 0.0, _Nobody())


async def test_messages_count_until_they_are_released() -> None:
    inbox = Inbox(4, 1000, lambda: None)
    for _ in range(4):
        inbox.add(message())
    assert inbox.is_full
    taken = await inbox.take(1000)
    assert len(taken) == 4
    assert inbox.is_full
    inbox.release(taken[:2])
    assert not inbox.is_full
    assert not inbox.is_half_full
    assert len(inbox) == 2


async def test_bytes_are_bounded_too() -> None:
    inbox = Inbox(100, 1000, lambda: None)
    inbox.add(message(600))
    assert inbox.is_half_full
    assert not inbox.is_full
    inbox.add(message(600))
    assert inbox.is_full
    # one at least, however large
    assert [m.size for m in await inbox.take(100)] == [600]
    assert [m.size for m in await inbox.take(1000)] == [600]


async def test_who_waits_is_woken() -> None:
    inbox = Inbox(2, 1000, lambda: None)
    taking = asyncio.create_task(inbox.take(1000))
    await asyncio.sleep(0)
    inbox.add(message())
    inbox.add(message())
    taken = await asyncio.wait_for(taking, 1)
    emptying = asyncio.create_task(inbox.half_empty())
    await asyncio.sleep(0.01)
    assert not emptying.done()
    inbox.release(taken)
    await asyncio.wait_for(emptying, 1)


async def test_the_end() -> None:
    inbox = Inbox(2, 1000, lambda: None)
    inbox.add(message())
    inbox.end()
    assert len(await inbox.take(1000)) == 1
    assert await inbox.take(1000) == []
