"""A message as the broker delivered it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Receipts(Protocol):
    """Takes the acknowledgement of a message that came by it."""

    def acknowledge(self, message: Message) -> bool:
        """Tell the broker that the message is durable. False if the connection is gone: it will come again."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """`topic` and `payload` as sent, raw; `mid`, its packet identifier, says nothing on any other connection.

    `received`: seconds of the monotonic clock.
    """

    topic: bytes
    payload: bytes
    qos: int
    mid: int
    received: float
    connection: Receipts

    @property
    def size(self) -> int:
        """About the bytes that it takes in memory."""
        return len(self.payload) + len(self.topic)
