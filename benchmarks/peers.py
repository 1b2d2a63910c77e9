"""What batches by HTTP are compared with: COPY of the same rows, and what one would write without thinking further."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import asyncpg

from benchmarks.databases import Connection
from occupancy.load import Site

_COLUMNS = ("time", "dpu", "seq", "direction")
_EVENTS_PER_BATCH = 1000
_SINGLE_CONNECTIONS = 8

# The table of the service a second time, with what makes it one: the hypertable, its check and its unique index.
_SAME_TABLE = (
    "DROP TABLE IF EXISTS peer_crossing",
    "CREATE TABLE peer_crossing (LIKE occupancy.crossing INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
    "SELECT create_hypertable('peer_crossing', by_range('time', INTERVAL '7 days'), create_default_indexes => false)",
    "CREATE UNIQUE INDEX ON peer_crossing (dpu, time, seq) INCLUDE (direction)",
)
# Plain PostgreSQL: every event in every space it touches, and the number of people now.
_NAIVE = """
DROP TABLE IF EXISTS naive_event, naive_count;
CREATE TABLE naive_event (
  id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  space integer NOT NULL,
  dpu   integer NOT NULL,
  time  timestamptz NOT NULL,
  delta smallint NOT NULL
);
CREATE INDEX ON naive_event (space, time);
CREATE TABLE naive_count (space integer PRIMARY KEY, people integer NOT NULL) WITH (fillfactor = 50);
"""
_INSERT = "INSERT INTO naive_event (space, dpu, time, delta) VALUES ($1, $2, $3, $4)"
_UPDATE = "UPDATE naive_count SET people = people + $2 WHERE space = $1"

# space, dpu, time, delta
Change = tuple[int, int, datetime, int]


@dataclass(frozen=True, slots=True)
class Speed:
    """How many events were stored, and in how many seconds."""

    events: int
    seconds: float

    def summary(self) -> dict[str, Any]:
        """With the events a second."""
        return asdict(self) | {
            "seconds": round(self.seconds, 3),
            "events_per_second": round(self.events / self.seconds),
        }


async def copy_of_stored(connection: Connection, rows: int) -> dict[str, dict[str, Any]]:
    """COPY the crossings stored last, in the order of their times, into an identical hypertable, in three ways.

    `stream`: one statement with rows in PostgreSQL's binary format, made before; `records`: one statement, the rows
    encoded by the driver meanwhile; `batches`: a statement, and a commit, for each 1,000 rows.
    """
    columns = ", ".join(_COLUMNS)
    latest = f"SELECT {columns} FROM occupancy.crossing ORDER BY time DESC LIMIT {rows}"
    taken = f"SELECT {columns} FROM ({latest}) AS latest ORDER BY time"
    records = [tuple(row) for row in await connection.fetch(taken, timeout=600)]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "rows"
        await connection.copy_from_query(taken, output=file, format="binary", timeout=600)

        async def stream() -> None:
            await connection.copy_to_table(
                "peer_crossing", source=file, columns=_COLUMNS, format="binary", timeout=600
            )

        async def all_records() -> None:
            await connection.copy_records_to_table(
                "peer_crossing", records=records, columns=_COLUMNS, timeout=600
            )

        async def batches() -> None:
            for first in range(0, len(records), _EVENTS_PER_BATCH):
                batch = records[first : first + _EVENTS_PER_BATCH]
                await connection.copy_records_to_table(
                    "peer_crossing", records=batch, columns=_COLUMNS, timeout=600
                )

        speeds = {}
        for name, copy in (("stream", stream), ("records", all_records), ("batches", batches)):
            for command in _SAME_TABLE:
                await connection.execute(command)
            speeds[name] = (await _timed(copy, len(records))).summary()
        stored = await connection.fetchval("SELECT count(*) FROM peer_crossing")
        assert stored == len(records)
        await connection.execute("DROP TABLE peer_crossing")
    return speeds


async def naive(url: str, site: Site, seconds: float) -> dict[str, dict[str, Any]]:
    """The naive scheme: for every event two inserts and two updates.

    `single`: a transaction for each event, on eight connections; `batches`: a transaction for 1,000 events on one
    connection, statements sent together. Numbers of spaces and DPUs are given, not looked up.
    """
    pool = await asyncpg.create_pool(url, min_size=_SINGLE_CONNECTIONS, max_size=_SINGLE_CONNECTIONS)
    try:
        speeds = {}
        for name, connections, work in (
            ("single", _SINGLE_CONNECTIONS, _one_by_one),
            ("batches", 1, _in_batches),
        ):
            await pool.execute(_NAIVE)
            await pool.execute(
                "INSERT INTO naive_count SELECT i, 0 FROM generate_series(0, $1::integer - 1) AS i",
                site.spaces,
            )
            speeds[name] = await _for_a_while(pool, site, connections, work, seconds)
            stored, people = (
                await pool.fetchval("SELECT count(*) FROM naive_event"),
                await pool.fetchval("SELECT sum(people) FROM naive_count"),
            )
            assert stored == 2 * speeds[name]["events"]
            assert people == await pool.fetchval("SELECT sum(delta) FROM naive_event")
        await pool.execute("DROP TABLE naive_event, naive_count")
    finally:
        await pool.close()
    return speeds


Work = Callable[[Connection, Site, random.Random, float], Awaitable[int]]


async def _for_a_while(
    pool: asyncpg.Pool, site: Site, connections: int, work: Work, seconds: float
) -> dict[str, Any]:
    deadline = time.perf_counter() + seconds

    async def one(seed: int) -> int:
        async with pool.acquire() as connection:
            return await work(cast("Connection", connection), site, random.Random(seed), deadline)

    begun = time.perf_counter()
    events = sum(await asyncio.gather(*(one(seed) for seed in range(connections))))
    return Speed(events, time.perf_counter() - begun).summary() | {"connections": connections}


async def _one_by_one(connection: Connection, site: Site, rng: random.Random, deadline: float) -> int:
    insert, update = await connection.prepare(_INSERT), await connection.prepare(_UPDATE)
    events = 0
    while time.perf_counter() < deadline:
        # room before floor, always: two transactions never wait for each other in a circle
        changes = _changes(site, rng)
        async with connection.transaction():
            for change in changes:
                await insert.fetch(*change)
                await update.fetch(change[0], change[3])
        events += 1
    return events


async def _in_batches(connection: Connection, site: Site, rng: random.Random, deadline: float) -> int:
    events = 0
    while time.perf_counter() < deadline:
        changes = [change for _ in range(_EVENTS_PER_BATCH) for change in _changes(site, rng)]
        async with connection.transaction():
            await connection.executemany(_INSERT, changes)
            await connection.executemany(_UPDATE, [(change[0], change[3]) for change in changes])
        events += _EVENTS_PER_BATCH
    return events


def _changes(site: Site, rng: random.Random) -> Sequence[Change]:
    dpu, delta = rng.randrange(site.dpus), rng.choice((1, -1))
    at = datetime.now(UTC) - timedelta(microseconds=rng.randrange(1_000_000))
    return [(space, dpu, at, delta) for space in site.spaces_of(dpu)]


async def _timed(work: Callable[[], Awaitable[None]], events: int) -> Speed:
    begun = time.perf_counter()
    await work()
    return Speed(events, time.perf_counter() - begun)
