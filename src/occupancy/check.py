"""Comparing what the aggregates hold with what follows from the crossings."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from occupancy.database import Database

_WINDOW = timedelta(days=30)
_MOST_SHOWN = 1000

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """A bucket that does not hold what follows from the crossings: its columns, None where there is no row."""

    level: str
    space_id: str
    bucket: datetime
    stored: dict[str, Any] | None
    correct: dict[str, Any] | None

    @property
    def columns(self) -> list[str]:
        """The columns that differ; all of them where a row is missing or should not be."""
        stored, correct = self.stored or {}, self.correct or {}
        return [name for name in (stored or correct) if stored.get(name) != correct.get(name)]


async def check(
    database: Database, start: datetime | None, end: datetime | None, sample: int | None, report: Report
) -> list[Difference]:
    """Compare all windows of 30 days in [start, end), or `sample` of them drawn by chance, with the raw crossings.

    Without bounds: all that is stored. `report` gets windows done and windows in all.
    """
    async with database.connection() as connection:
        first = await connection.fetchval(
            "SELECT nullif(least(occupancy.first_chunk(), occupancy.history_start()), 'infinity')"
        )
        read_before = await connection.fetchval(
            "SELECT nullif(read_before, '-infinity') FROM occupancy.horizon"
        )
        if first is None or read_before is None:
            return []
        windows = list(_windows(max(start or first, first), min(end or read_before, read_before)))
        if sample is not None and sample < len(windows):
            windows = random.sample(windows, sample)
        differences: list[Difference] = []
        for done, (window_start, window_end) in enumerate(windows, 1):
            rows = await connection.fetch(
                """
                SELECT wrong.*, coalesce(space.space_id, '(deleted)') AS space_id
                FROM occupancy.check_flow($1, $2) AS wrong
                LEFT JOIN occupancy.space ON space.id = wrong.space
                ORDER BY wrong.bucket, wrong.level, wrong.space
                LIMIT $3
                """,
                window_start,
                window_end,
                _MOST_SHOWN,
                timeout=float("inf"),
            )
            differences += [_difference(row) for row in rows]
            report(done, len(windows))
    return differences


def _windows(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    # From before the first instant, so that the coarse buckets it lies in are among those compared.
    at = datetime(2000, 1, 3, tzinfo=UTC)
    at += (start - at) // _WINDOW * _WINDOW
    while at < end:
        yield at, at + _WINDOW
        at += _WINDOW


def _difference(row: asyncpg.Record) -> Difference:
    def flow(side: str) -> dict[str, Any] | None:
        return None if row[side] is None else json.loads(row[side])

    return Difference(row["level"], row["space_id"], row["bucket"], flow("stored"), flow("correct"))
