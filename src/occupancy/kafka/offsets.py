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
    """Where a partition goes on (None: nothing of it was ever stored), and the epoch under which it is held."""

    next_offset: int | None
    epoch: int


@dataclass(frozen=True, slots=True)
class Offsets:
    """The offsets of one group in one topic. `owner` names the worker, for people who look."""

    cluster_id: str
    group: str
    topic: str
    owner: str

    async def claim(self, connection: asyncpg.Connection, partitions: Iterable[int]) -> dict[int, Position]:
        """Take partitions over: whoever held them can store nothing of them from now on."""
        rows = await connection.fetch(
            "SELECT partition, next_offset, epoch FROM occupancy.claim_partitions($1, $2, $3, $4, $5)",
            self.cluster_id,
            self.group,
            self.topic,
            sorted(partitions),
            self.owner,
        )
        return {row["partition"]: Position(row["next_offset"], row["epoch"]) for row in rows}

    async def advance(self, connection: asyncpg.Connection, spans: Mapping[int, Span]) -> bool:
        """Move each partition to the end of its span, in the transaction that stores it.

        False where exactly that was committed before: the answer to a commit got lost. Raises Fenced.
        """
        partitions = sorted(spans)
        rows = await connection.fetch(
            "SELECT partition, epoch, next_offset FROM occupancy.advance_offsets($1, $2, $3, $4, $5, $6, $7)",
            self.cluster_id,
            self.group,
            self.topic,
            partitions,
            [spans[partition].epoch for partition in partitions],
            [spans[partition].position for partition in partitions],
            [spans[partition].next_offset for partition in partitions],
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
            SELECT partition, next_offset, epoch
            FROM occupancy.kafka_offset
            WHERE cluster_id = $1 AND consumer_group = $2 AND topic = $3 AND partition = ANY ($4)
            """,
            self.cluster_id,
            self.group,
            self.topic,
            sorted(partitions),
        )
        return {row["partition"]: Position(row["next_offset"], row["epoch"]) for row in rows}


def _is_done(row: asyncpg.Record, span: Span) -> bool:
    return bool(row["epoch"] == span.epoch and row["next_offset"] == span.next_offset)
