"""kill -9, at random moments: nothing acknowledged is lost or doubled, and no count is ever wrong."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from subprocess import Popen
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.stress.exactness import (
    COMPARE_MANY,
    LEVELS,
    SPACES,
    WRONG_ROWS,
    Clock,
    Connection,
    Run,
    Summary,
    connected,
    own_database,
    refresh_once,
    set_up,
)
from tests.stress.victims import GONE, send

URL = os.environ.get("OCCUPANCY_TEST_DATABASE_URL", "")
MAY_CRASH = os.environ.get("OCCUPANCY_TEST_KILL") == "1"
ROUNDS = 5
REPOSITORY = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(
        not URL, reason="OCCUPANCY_TEST_DATABASE_URL names no TimescaleDB with several sessions"
    ),
]


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    """A database on simulated time, in which a dead refresher is replaced after a second."""
    async with own_database(URL, f"stress_kill_{os.getpid()}") as url:
        clock = await set_up(url, barrier=True)
        async with connected(url) as connection:
            await connection.execute(
                "CREATE OR REPLACE FUNCTION occupancy.refresh_lease() RETURNS interval "
                "LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN INTERVAL '1 second'"
            )
        yield Run(url, clock, Summary(barrier=True))


@contextmanager
def victim(*arguments: str) -> Iterator[Popen[bytes]]:
    """A process of victims.py, killed at the end at the latest."""
    with Popen([sys.executable, "-m", "tests.stress.victims", *arguments], cwd=REPOSITORY) as process:
        try:
            yield process
        finally:
            process.kill()


async def wrong_counts(connection: Connection, clock: Clock) -> int:
    """How many of all spaces' counts differ from the plain sum, now and at some instants before."""
    wrong = 0
    for back in (0, random.random() * 30, random.random() * 600):
        instant = clock.now() - timedelta(minutes=back)
        rows = await connection.fetch(COMPARE_MANY, list(range(1, SPACES + 1)), instant)
        assert len(rows) == SPACES
        wrong += sum(not row["same"] for row in rows)
    return wrong


async def refresh_to_the_end(run: Run, connection: Connection) -> None:
    """Take over from whoever died as soon as the lease allows it, and refresh all there is."""
    holder = uuid4()
    await _until(connection, "SELECT occupancy.take_refresh($1, '0')", holder)
    await connection.execute("SELECT occupancy.end_refresh($1, false)", holder)
    await refresh_once(run, connection, holder)
    await connection.execute("SELECT occupancy.end_refresh($1, true)", holder)


async def refresh_in_peace(run: Run, connection: Connection) -> None:
    """The same with nobody writing: then every stored bucket must be what follows from the crossings."""
    await _until_nobody_writes(connection)
    await refresh_to_the_end(run, connection)
    for level, width in LEVELS.items():
        assert await connection.fetchval(WRONG_ROWS.format(level=level), width) == 0, level


class Books:
    """The ledger, read."""

    def __init__(self, file: Path) -> None:
        self.sent: dict[tuple[int, int], list[list[Any]]] = {}
        self.acknowledged: set[tuple[int, int]] = set()
        for line in file.read_text().splitlines():
            with suppress(
                json.JSONDecodeError
            ):  # a line that the kill cut short stands for something not yet done
                entry = json.loads(line)
                if "send" in entry:
                    self.sent[entry["client"], entry["send"]] = entry["events"]
                else:
                    self.acknowledged.add((entry["client"], entry["ack"]))

    async def check(self, connection: Connection) -> None:
        """Every acknowledged event is there once; the others can be sent again, then all are there once."""
        rows = await connection.fetch(
            "SELECT dpu.dpu_id, crossing.seq, crossing.direction "
            "FROM occupancy.crossing JOIN occupancy.dpu ON dpu.id = crossing.dpu"
        )
        stored = [(row["dpu_id"], row["seq"], row["direction"]) for row in rows]
        assert len(set(stored)) == len(stored)
        acknowledged = {(e[0], e[3], e[2]) for key in self.acknowledged for e in self.sent[key]}
        assert acknowledged <= set(stored)
        for key in self.sent.keys() - self.acknowledged:
            assert set(await send(connection, self.sent[key])) <= {"duplicate"}
            self.acknowledged.add(key)
        total = await connection.fetchval("SELECT count(*) FROM occupancy.crossing")
        assert total == sum(len(events) for events in self.sent.values())


async def test_a_killed_refresher_is_replaced_and_no_count_is_wrong(run: Run, tmp_path: Path) -> None:
    died_at_work = 0
    async with connected(run.url) as connection:
        with victim("ingest", run.url, str(tmp_path / "ledger")):
            for _ in range(ROUNDS):
                with victim("refresh", run.url) as refresher:
                    await _until(connection, "SELECT holder IS NOT NULL FROM occupancy.refresher")
                    await asyncio.sleep(random.random() * 2)
                    refresher.send_signal(signal.SIGKILL)
                    assert refresher.wait() == -signal.SIGKILL
                died_at_work += await connection.fetchval(
                    "SELECT holder IS NOT NULL FROM occupancy.refresher"
                )
                assert await wrong_counts(connection, run.clock) == 0
                await refresh_to_the_end(run, connection)
                assert await wrong_counts(connection, run.clock) == 0
        await refresh_in_peace(run, connection)
        assert await wrong_counts(connection, run.clock) == 0
    assert died_at_work > 0


async def test_what_a_killed_client_had_acknowledged_is_there_once(run: Run, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    async with connected(run.url) as connection:
        for _ in range(ROUNDS):
            stored = await connection.fetchval("SELECT count(*) FROM occupancy.crossing")
            with victim("refresh", run.url), victim("ingest", run.url, str(ledger)) as client:
                await _until(connection, "SELECT count(*) > $1 FROM occupancy.crossing", stored)
                await asyncio.sleep(random.random() * 2)
                client.send_signal(signal.SIGKILL)
                assert client.wait() == -signal.SIGKILL
            await _until_nobody_writes(connection)
            books = Books(ledger)
            assert books.acknowledged
            await books.check(connection)
            # what was sent again counts as answered from now on
            with ledger.open("a") as file:
                file.writelines(json.dumps({"client": c, "ack": n}) + "\n" for c, n in books.acknowledged)
            await refresh_in_peace(run, connection)
            assert await wrong_counts(connection, run.clock) == 0


async def _until_nobody_writes(connection: Connection) -> None:
    """The server may still be at the last statement of a client that is gone."""
    await _until(
        connection,
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() "
        "AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
    )


async def _until(connection: Connection, question: str, *arguments: object) -> None:
    """Ask until the answer is true."""
    async with asyncio.timeout(20):
        while True:
            if await connection.fetchval(question, *arguments):
                return
            await asyncio.sleep(0.05)


@pytest.mark.skipif(
    not MAY_CRASH, reason="OCCUPANCY_TEST_KILL is not 1: crashes the server, for all who use it"
)
async def test_a_crash_of_the_server_loses_nothing_that_was_acknowledged(run: Run, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    for _ in range(ROUNDS):
        with victim("refresh", run.url), victim("ingest", run.url, str(ledger)):
            async with connected(run.url) as connection:
                await _until(connection, "SELECT holder IS NOT NULL FROM occupancy.refresher")
                await _until(connection, "SELECT EXISTS (SELECT FROM occupancy.crossing)")
            await asyncio.sleep(random.random() * 2)
            await _crash(run.url)
            async with _connected_again(run.url) as connection:
                assert await wrong_counts(connection, run.clock) == 0
                await asyncio.sleep(0.5)  # both go on by themselves
                assert await wrong_counts(connection, run.clock) == 0
        async with connected(run.url) as connection:
            await refresh_in_peace(run, connection)
            books = Books(ledger)
            assert books.acknowledged
            await books.check(connection)
            with ledger.open("a") as file:
                file.writelines(json.dumps({"client": c, "ack": n}) + "\n" for c, n in books.acknowledged)


async def _crash(url: str) -> None:
    """kill -9 of a backend: the server cannot know what it left in shared memory, and starts anew for all."""
    connection = await asyncpg.connect(url)
    os.kill(await connection.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
    with suppress(*GONE):
        async with asyncio.timeout(20):
            while True:
                await connection.fetchval("SELECT pg_sleep(0.05)")
    connection.terminate()


@asynccontextmanager
async def _connected_again(url: str) -> AsyncIterator[Connection]:
    async with asyncio.timeout(60):
        while True:
            try:
                connection = await asyncpg.connect(url, timeout=5)
                break
            except GONE:
                await asyncio.sleep(0.1)
    try:
        yield connection
    finally:
        await connection.close()
