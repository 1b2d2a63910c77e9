"""Messages that are stored in one transaction, and the parts of their partitions that they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import Message


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a partition, held under `epoch`: from `position` up to, but not including, `next_offset`.

    A position of None is where a partition begins of which nothing was ever stored.
    """

    epoch: int
    position: int | None
    next_offset: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages in the order of their offsets within each partition, and a span for each partition."""

    messages: list[Message]
    spans: Mapping[int, Span]

    def halves(self) -> tuple[Batch, Batch]:
        """Two batches that, one after the other, are this one. It holds two messages or more."""
        middle = len(self.messages) // 2
        first, second = self.messages[:middle], self.messages[middle:]
        ends = next_offsets(first)
        return (
            Batch(
                first,
                {
                    partition: Span(self.spans[partition].epoch, self.spans[partition].position, end)
                    for partition, end in ends.items()
                },
            ),
            Batch(
                second,
                {
                    partition: Span(
                        self.spans[partition].epoch,
                        ends.get(partition, self.spans[partition].position),
                        end,
                    )
                    for partition, end in next_offsets(second).items()
                },
            ),
        )


def next_offsets(messages: Iterable[Message]) -> dict[int, int]:
    """For each partition, the offset after its last message."""
    return {partition_of(message): offset_of(message) + 1 for message in messages}


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
