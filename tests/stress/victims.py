"""Processes for test_kill.py to kill: one that ingests and keeps a ledger, one that refreshes.

    python -m tests.stress.victims ingest URL LEDGER
    python -m tests.stress.victims refresh URL

The ledger has a line `{"send": n, ...}` before a batch is sent, and `{"ack": n}` once the call has returned.
Both go on, with a new connection, when the database goes away.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import asyncpg

from tests.stress.exactness import DPUS, Connection

GONE = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.CannotConnectNowError,
        asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, OSError)  # fmt: skip
EVENTS_PER_BATCH = 20
PAUSE_SECONDS = 0.03  # or the checks have too much to sum up


async def with_new_connections(url: str, work: Callable[[Connection], Awaitable[None]]) -> None:
    """Do `work` for ever, again from the start on a new connection whenever the old one is lost."""
    while True:
        try:
            connection = await asyncpg.connect(url, timeout=5)
            try:
                await work(connection)
            finally:
                connection.terminate()
        except GONE:
            await asyncio.sleep(0.1)


class Ledger:
    """What was sent and what was acknowledged, on disk before anything goes on."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def new_events(client: int, batch: int, now: datetime) -> list[list[Any]]:
    """Events that no other batch holds: [dpu_id, time, direction, seq]; a tenth of them late."""
    return [
        [
            f"dpu-{random.randint(1, DPUS)}",
            (now - timedelta(minutes=random.random() * (600 if random.random() < 0.1 else 5))).isoformat(),
            random.choice((1, -1)),
            (client * 100_000 + batch) * EVENTS_PER_BATCH + i,
        ]
        for i in range(EVENTS_PER_BATCH)
    ]


async def send(connection: Connection, events: list[list[Any]]) -> list[str]:
    """Ingest events; why some were not stored."""
    rows = await connection.fetch(
        "SELECT code FROM occupancy.ingest_crossings(1, $1, $2, $3, $4)",
        [event[0] for event in events],
        [datetime.fromisoformat(event[1]) for event in events],
        [event[2] for event in events],
        [event[3] for event in events],
    )
    return [row["code"] for row in rows]


async def ingest(url: str, ledger: Ledger, client: int) -> None:
    """Send batch after batch; what got no answer is sent again."""
    batches = count()
    pending: list[tuple[int, list[list[Any]]]] = []

    async def work(connection: Connection) -> None:
        while True:
            if not pending:
                batch, now = next(batches), await connection.fetchval("SELECT stress.now()")
                pending.append((batch, new_events(client, batch, now)))
                ledger.write({"send": batch, "client": client, "events": pending[0][1]})
            batch, events = pending[0]
            await send(connection, events)
            ledger.write({"ack": batch, "client": client})
            pending.clear()
            await asyncio.sleep(PAUSE_SECONDS)

    await with_new_connections(url, work)


async def refresh(url: str) -> None:
    """Refresh after refresh, in the product's steps, without a pause."""

    async def work(connection: Connection) -> None:
        while True:
            holder = uuid4()
            if not await connection.fetchval("SELECT occupancy.take_refresh($1, '0')", holder):
                await asyncio.sleep(0.1)
                continue
            await connection.execute("SELECT occupancy.claim_stale($1)", holder)
            await connection.execute("SELECT occupancy.move_horizon($1, '0')", holder)
            while await connection.fetchval("SELECT occupancy.repair_next($1, '2 hours')", holder):
                pass
            while await connection.fetchval("SELECT occupancy.materialize_next($1, '15 minutes')", holder):
                pass
            await connection.execute("SELECT occupancy.end_refresh($1, true)", holder)

    await with_new_connections(url, work)


def main() -> None:
    kind, url = sys.argv[1:3]
    if kind == "refresh":
        asyncio.run(refresh(url))
    else:
        client = int(datetime.now(UTC).timestamp() * 10) % 1_000_000_000
        with Path(sys.argv[3]).open("a") as file:
            asyncio.run(ingest(url, Ledger(file), client))


if __name__ == "__main__":
    main()
