"""Messages that are stored in one transaction, and the parts of their partitions that they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Message


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a partition, held under `epoch`: from `position` up to, but not including, `next_offset`.

    A position of None is where a partition begins of which nothing was ever stored. `leader_epoch`: under which leader
    of the brokers its last message was written; None where they do not say, or where it has no message.
    """

    epoch: int
    position: int | None
    next_offset: int
    leader_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages in the order of their offsets within each partition, and a span for each partition."""

    messages: list[Message]
    spans: Mapping[int, Span]

    def halves(self) -> tuple[Batch, Batch]:
        """Two batches that, one after the other, are this one. It holds two messages or more."""
        middle = len(self.messages) // 2
        positions = {partition: span.position for partition, span in self.spans.items()}
        first = self._part(self.messages[:middle], positions)
        positions |= {partition: span.next_offset for partition, span in first.spans.items()}
        return first, self._part(self.messages[middle:], positions)

    def _part(self, messages: list[Message], positions: Mapping[int, int | None]) -> Batch:
        last = {partition_of(message): message for message in messages}
        return Batch(
            messages,
            {
                partition: span_to(message, self.spans[partition].epoch, positions[partition])
                for partition, message in last.items()
            },
        )


def span_to(last: Message, epoch: int, position: int | None) -> Span:
    """The span of a partition that ends with this message."""
    return Span(epoch, position, offset_of(last) + 1, last.leader_epoch())


def partition_of(message: Message) -> int:
    """The partition of a message that came from a broker."""
    partition = message.partition()
    assert partition is not None  # noqa: S101 -- None is for messages that were never sent
    return partition


def offset_of(message: Message) -> int:
    """The offset of a message that came from a broker."""
    offset = message.offset()
    assert offset is not None  # noqa: S101 -- None is for messages that were never sent
    return offset


def headers_of(messages: Sequence[Message]) -> list[Any]:
    """The headers of each message; none where the client cannot read the name of one, which is then no UTF-8.

    It fails there and leaves a list with holes: whoever touches one ends the process. `map` looks whether a call has
    failed; Python does not once it has made a call in its own code fast.
    """
    column: list[Any] = []
    following = map(Message.headers, messages)
    while len(column) < len(messages):
        try:
            column.extend(following)
        except SystemError:
            # Asked again, it would give the list with holes.
            messages[len(column)].set_headers([])
            column.append([])
    return column
