"""Messages that were received and are not durable yet: a bounded number of them, and of bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from occupancy.mqtt.message import Message


class Inbox:
    """A queue in order of reception. A message counts against the bounds until it is released, not until it is taken.

    `most_messages` and `most_bytes` may be exceeded by what one read brings: they say when to stop reading.
    """

    def __init__(self, most_messages: int, most_bytes: int, on_change: Callable[[], None]) -> None:
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._on_change = on_change
        self._waiting: deque[Message] = deque()
        self._held = 0
        self._held_bytes = 0
        self._ended = False
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return self._held

    @property
    def is_full(self) -> bool:
        """Whether no more should be received now."""
        return self._held >= self._most_messages or self._held_bytes >= self._most_bytes

    @property
    def is_half_full(self) -> bool:
        """Whether less than half of the room is left."""
        return 2 * self._held > self._most_messages or 2 * self._held_bytes > self._most_bytes

    def add(self, message: Message) -> None:
        """Put a message at the end of the queue."""
        self._waiting.append(message)
        self._held += 1
        self._held_bytes += message.size
        self._wake()

    async def take(self, most_bytes: int) -> list[Message]:
        """All that wait, or as many as have `most_bytes`, at least one; none once the inbox has ended and is empty."""
        while not self._waiting and not self._ended:
            await self._change()
        taken: list[Message] = []
        size = 0
        while self._waiting and (not taken or size + self._waiting[0].size <= most_bytes):
            message = self._waiting.popleft()
            size += message.size
            taken.append(message)
        return taken

    def release(self, messages: Sequence[Message]) -> None:
        """Forget messages that were taken: they are durable."""
        self._held -= len(messages)
        self._held_bytes -= sum(message.size for message in messages)
        self._wake()

    async def half_empty(self) -> None:
        """Wait until half of the room is free, or the inbox has ended."""
        while self.is_half_full and not self._ended:
            await self._change()

    def end(self) -> None:
        """Nothing more will be added."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._on_change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
