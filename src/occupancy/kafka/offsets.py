"""Offsets in the database: who holds a partition, and how far it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import asyncpg

from occupancy.kafka.batch import Span


class Fenced(Exception):
    """Another worker has taken partitions over: nothing of the transaction may be committed."""

    def __init__(self, partitions: list[int]) -> None:
        super().__init__(f"partitions {partitions} are held by another worker")
        self.partitions = partitions


@dataclass(frozen=True, slots=True)
class Position:
    """Where a partition goes on (None: nothing of it was ever stored), and the epoch under which it is held.

    `leader_epoch` is that of the last message stored, `topic_id` the topic that it was of; None where nobody knows.
    """

    next_offset: int | None
    epoch: int
    leader_epoch: int | None = None
    topic_id: str | None = None


@dataclass(slots=True)
class Offsets:
    """The offsets of one group in one topic. `owner` names the worker, for people who look.

    `topic_id`: which topic of that name this is, once the brokers have said so.
    """

    cluster_id: str
    group: str
    topic: str
    owner: str
    topic_id: str | None = None

    async def claim(self, connection: asyncpg.Connection, partitions: Iterable[int]) -> dict[int, Position]:
        """Take partitions over: whoever held them can store nothing of them from now on."""
        rows = await connection.fetch(
            "SELECT partition, next_offset, epoch, leader_epoch, topic_id "
            "FROM occupancy.claim_partitions($1, $2, $3, $4, $5)",
            self.cluster_id,
            self.group,
            self.topic,
            sorted(partitions),
            self.owner,
        )
        return {row["partition"]: _position(row) for row in rows}

    async def advance(self, connection: asyncpg.Connection, spans: Mapping[int, Span]) -> bool:
        """Move each partition to the end of its span, in the transaction that stores it.

        False where exactly that was committed before: the answer to a commit got lost. Raises Fenced.
        """
        partitions = sorted(spans)
        rows = await connection.fetch(
            "SELECT partition, epoch, next_offset "
            "FROM occupancy.advance_offsets($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            self.cluster_id,
            self.group,
            self.topic,
            partitions,
            [spans[partition].epoch for partition in partitions],
            [spans[partition].position for partition in partitions],
            [spans[partition].next_offset for partition in partitions],
            [spans[partition].leader_epoch for partition in partitions],
            self.topic_id,
        )
        if not rows:
            return True
        if len(rows) == len(spans) and all(_is_done(row, spans[row["partition"]]) for row in rows):
            return False
        raise Fenced([row["partition"] for row in rows])

    async def stored(self, connection: asyncpg.Connection, partitions: Iterable[int]) -> dict[int, Position]:
        """What the database holds for these partitions now."""
        rows = await connection.fetch(
            """
            SELECT partition, next_offset, epoch, leader_epoch, topic_id
            FROM occupancy.kafka_offset
            WHERE cluster_id = $1 AND consumer_group = $2 AND topic = $3 AND partition = ANY ($4)
            """,
            self.cluster_id,
            self.group,
            self.topic,
            sorted(partitions),
        )
        return {row["partition"]: _position(row) for row in rows}


def _position(row: asyncpg.Record) -> Position:
    return Position(row["next_offset"], row["epoch"], row["leader_epoch"], row["topic_id"])


def _is_done(row: asyncpg.Record, span: Span) -> bool:
    return bool(row["epoch"] == span.epoch and row["next_offset"] == span.next_offset)
