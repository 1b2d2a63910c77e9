"""Which partitions a worker holds, and how far it has taken messages from each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import Message

from occupancy.kafka.batch import Batch, Span, span_to
from occupancy.kafka.offsets import Position


@dataclass(slots=True)
class Holding:
    """A partition that is held under `epoch`. `taken`: the next offset to take; `stored`: the next one to store.

    `leader_epoch` is that of the last message taken, `topic_id` the topic that the position it began with is of.
    """

    epoch: int
    taken: int | None
    stored: int | None
    leader_epoch: int | None
    topic_id: str | None


class Assignment:
    """What this worker holds. `generation` changes whenever that does."""

    def __init__(self) -> None:
        self._held: dict[int, Holding] = {}
        self.generation = 0

    @property
    def held(self) -> Mapping[int, Holding]:
        """By the number of the partition."""
        return self._held

    def hold(self, positions: Mapping[int, Position]) -> None:
        """Go on where the database says."""
        self.generation += 1
        for partition, position in positions.items():
            self._held[partition] = Holding(
                position.epoch,
                position.next_offset,
                position.next_offset,
                position.leader_epoch,
                position.topic_id,
            )

    def drop(self, partitions: Iterable[int]) -> None:
        """Hold these no longer."""
        self.generation += 1
        for partition in partitions:
            self._held.pop(partition, None)

    def reset(self, stored: Mapping[int, Position]) -> list[int]:
        """Take anew what was taken but not stored. Drops the partitions that others hold by now, and returns them."""
        self.generation += 1
        gone = []
        for partition, holding in list(self._held.items()):
            position = stored.get(partition)
            if position is None or position.epoch != holding.epoch:
                del self._held[partition]
                gone.append(partition)
            else:
                holding.taken = holding.stored = position.next_offset
                holding.leader_epoch, holding.topic_id = position.leader_epoch, position.topic_id
        return gone

    def take(self, messages: Iterable[Message]) -> Batch | None:
        """The messages that are next in their partitions. Leaves out what was taken before or is not held.

        Offsets may have gaps, so that a message that is missing cannot be told here: whoever throws messages away has
        to see to it that they are fetched again.
        """
        held = self._held
        ends: dict[int, int] = {}
        last: dict[int, Message] = {}
        taken = []
        for message in messages:
            partition: int = message.partition()  # type: ignore[assignment]
            offset: int = message.offset()  # type: ignore[assignment]
            end = ends.get(partition)
            if end is None:
                holding = held.get(partition)
                if holding is None:
                    continue
                end = holding.taken or 0
            if offset >= end:
                ends[partition] = offset + 1
                last[partition] = message
                taken.append(message)
        if not taken:
            return None
        spans = {}
        for partition, message in last.items():
            holding = held[partition]
            span = spans[partition] = span_to(message, holding.epoch, holding.taken)
            holding.taken, holding.leader_epoch = span.next_offset, span.leader_epoch
        return Batch(taken, spans)

    def stored(self, spans: Mapping[int, Span]) -> None:
        """Note what was committed."""
        for partition, span in spans.items():
            holding = self._held.get(partition)
            if holding is not None and holding.epoch == span.epoch:
                holding.stored = span.next_offset
