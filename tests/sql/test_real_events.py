"""The real events of two DPUs, where they are at hand: known answers, however and whenever they arrive."""

from __future__ import annotations

import csv
import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from occupancy.csv_import import import_csv
from occupancy.database import Database
from occupancy.parse import Clock, parse_events
from occupancy.refresh import Refresher
from occupancy.settings import Settings
from tests.conftest import ROOT
from tests.sql.building import two_rooms

EVENTS = Path(os.environ.get("OCCUPANCY_TEST_EVENTS", ROOT.parent / "shared" / "data" / "dpu_data.csv"))

_SIZE = EVENTS.stat().st_size if EVENTS.is_file() else 0

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not EVENTS.is_file(), reason="OCCUPANCY_TEST_EVENTS names no file of the sample events"
    ),
]

# net of A and B
_KNOWN = {
    "2018-02-26T12:00:00+00:00": (-4, 4),
    "2018-02-28T15:34:00+00:00": (-4, 7),
    "2018-02-28T20:49:11+00:00": (10, 8),
    "2018-03-02T23:59:59+00:00": (-2, 8),
}


def _rows() -> list[dict[str, Any]]:
    with EVENTS.open(newline="") as file:
        return [row | {"direction": int(row["direction"])} for row in csv.DictReader(file)]


async def _answers(connection: asyncpg.Connection, spaces: tuple[int, int]) -> dict[str, tuple[int, int]]:
    answers = {}
    for text in _KNOWN:
        rows = await connection.fetch(
            "SELECT net FROM occupancy.counts_at($1, $2)", list(spaces), datetime.fromisoformat(text)
        )
        answers[text] = (rows[0]["net"], rows[1]["net"])
    return answers


async def test_the_import_stores_each_event_once(
    connection: asyncpg.Connection, database: Database, settings: Settings
) -> None:
    spaces = await two_rooms(connection)
    bytes_read: list[int] = []
    first = await import_csv(database, settings, EVENTS, bytes_read.append)
    assert (first.accepted, first.duplicates, first.rejected.total()) == (530, 33, 0)
    assert bytes_read == [_SIZE]
    again = await import_csv(database, settings, EVENTS, bytes_read.append)
    assert (again.accepted, again.duplicates, again.rejected.total()) == (0, 563, 0)
    assert await _answers(connection, spaces) == _KNOWN
    await Refresher(database, settings).run_once()
    assert await _answers(connection, spaces) == _KNOWN


@pytest.mark.parametrize("seed", range(4))
async def test_order_batches_and_refreshes_change_nothing(
    connection: asyncpg.Connection, database: Database, settings: Settings, seed: int
) -> None:
    rng = random.Random(seed)
    spaces = await two_rooms(connection)
    rows = _rows()
    rng.shuffle(rows)
    clock = Clock(datetime.now(UTC), settings.max_clock_skew, settings.earliest_event)
    accepted = duplicates = refreshes = 0
    while rows:
        size = rng.choice([1, 7, 50, 200])
        batch, rows = rows[:size], rows[size:]
        result = await database.ingest(1, parse_events(batch, clock))
        accepted += result.accepted
        duplicates += result.duplicates
        if rng.random() < 0.3:
            refreshes += await Refresher(database, settings).run_once()
    assert (accepted, duplicates) == (530, 33)
    assert refreshes > 0
    assert await _answers(connection, spaces) == _KNOWN
