"""Workers of one group that are killed, frozen, started and stopped while events come in: nothing lost, nothing twice.

    python -m tests.stress.kafka --seconds 300 [--no-fence]

On the server of OCCUPANCY_TEST_DATABASE_URL and a tansu broker (or --broker HOST:PORT). Crossings have a unique key
that would hide what is stored twice: so the test's database writes down every event that a transaction passes to
ingest_crossings, in that transaction, in a ledger without any key.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import Popen

import asyncpg

from occupancy import schema
from tests.kafka.brokers import ROOT, Broker, tansu
from tests.stress.exactness import connected, own_database

TOPIC = "events"
PARTITIONS = 12
DPUS = 200
RATE = 2000
SESSION_MS = 6000
# Longer than a session, and than a transaction may idle.
FREEZES = (9.0, 13.0)
WORKERS = 3
PATIENCE = 120.0

LEDGER = """
CREATE SCHEMA stress;
CREATE TABLE stress.ledger (seq bigint NOT NULL, backend integer NOT NULL DEFAULT pg_backend_pid());
"""
LOCK = "PERFORM occupancy.lock_for_writing();"
# So that some are killed and frozen in the middle of a transaction, it takes a while.
LEDGER_ENTRY = "INSERT INTO stress.ledger (seq) SELECT unnest(seqs); PERFORM pg_sleep(random() * 0.05);"
# Here it is rolled back where the events are not all new, and ingest_crossings is called for them.
INSERTED = "GET DIAGNOSTICS inserted = ROW_COUNT;"
CHECK = "WHERE held.epoch IS DISTINCT FROM wanted.epoch OR held.next_offset IS DISTINCT FROM wanted.position"


@dataclass
class Outcome:
    """What happened, and what was wrong: lost and twice must be 0."""

    fence: bool
    sent: int = 0
    stored: int = 0
    lost: int = 0
    twice: int = 0
    unique: int = 0
    epochs: int = 0
    seconds: float = 0.0
    what: Counter[str] = field(default_factory=Counter)
    failed_workers: list[str] = field(default_factory=list)


class Sender(threading.Thread):
    """Sends events with growing seqs, keyed by DPU, some of them in CloudEvents."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(daemon=True)
        self._broker = broker
        self._producer = broker.producer()
        self._stopping = threading.Event()
        self.sent = 0
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            began = time.monotonic()
            while not self._stopping.is_set():
                due = int((time.monotonic() - began) * RATE)
                if due > self.sent:
                    self._broker.send_by(self._producer, TOPIC, self._records(due))
                    self.sent = due
                time.sleep(0.2)
        except BaseException as fault:
            self.fault = fault

    def _records(self, due: int) -> Iterator[dict[str, bytes]]:
        now = datetime.now(UTC)
        for seq in range(self.sent, due):
            dpu_id = f"dpu-{seq % DPUS}"
            event = {
                "dpu_id": dpu_id,
                "timestamp": (now + timedelta(microseconds=seq % 1000)).isoformat(),
                "direction": 1 if seq % 2 else -1,
                "seq": seq,
            }
            document = {"specversion": "1.0", "data": event} if seq % 10 == 0 else event
            yield {"key": dpu_id.encode(), "value": json.dumps(document).encode()}

    def stop(self) -> None:
        self._stopping.set()
        self.join()
        if self.fault is not None:
            raise self.fault


class Crew:
    """The workers, each a process of its own, and what is done to them."""

    def __init__(self, url: str, broker: Broker, directory: Path, outcome: Outcome) -> None:
        properties = {"session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": 1000}
        self._environment = os.environ | {
            "OCCUPANCY_DATABASE_URL": url,
            "OCCUPANCY_KAFKA_BOOTSTRAP_SERVERS": broker.address,
            "OCCUPANCY_KAFKA_TOPIC": TOPIC,
            "OCCUPANCY_KAFKA_BATCH_SIZE": "500",
            "OCCUPANCY_KAFKA_PROPERTIES": json.dumps(properties),
        }
        self._directory = directory
        self._outcome = outcome
        self._number = 0
        self._logs: dict[int, Path] = {}
        self.workers: list[Popen[bytes]] = []

    def hire(self) -> None:
        self._number += 1
        file = self._directory / f"worker-{self._number}.log"
        with file.open("wb") as log:
            command = [sys.executable, "-m", "occupancy", "consume"]
            worker = Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        self.workers.append(worker)
        self._logs[worker.pid] = file
        self._outcome.what["started"] += 1

    async def kill(self) -> None:
        worker = random.choice(self.workers)
        worker.kill()
        await asyncio.to_thread(worker.wait)
        self.workers.remove(worker)
        self._outcome.what["killed"] += 1
        self.hire()

    async def freeze(self) -> None:
        worker = random.choice(self.workers)
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(random.uniform(*FREEZES))
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        self._outcome.what["frozen"] += 1

    async def replace(self) -> None:
        self.hire()
        await asyncio.sleep(3)
        await self._dismiss(self.workers[0])

    async def _dismiss(self, worker: Popen[bytes]) -> None:
        worker.terminate()
        status = await asyncio.to_thread(worker.wait, PATIENCE)
        if status != 0:
            self._outcome.failed_workers.append(f"exit status {status}: {self._last_words(worker)}")
        self.workers.remove(worker)
        self._outcome.what["stopped"] += 1

    async def dismiss_all(self) -> None:
        for worker in list(self.workers):
            await self._dismiss(worker)

    def check(self) -> None:
        """A worker that has ended by itself is a failure; another takes its place."""
        for worker in [worker for worker in self.workers if worker.poll() is not None]:
            self._outcome.failed_workers.append(
                f"exit status {worker.returncode}: {self._last_words(worker)}"
            )
            self.workers.remove(worker)
            self.hire()

    def _last_words(self, worker: Popen[bytes]) -> str:
        return self._logs[worker.pid].read_text()[-1000:]

    def end(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()


@asynccontextmanager
async def prepared(server_url: str, outcome: Outcome) -> AsyncIterator[str]:
    """A database with DPUs and a ledger, and without the fence if so wanted."""
    async with own_database(server_url, f"stress_kafka_{os.getpid()}") as url:
        async with connected(url) as connection:
            await connection.execute(
                "INSERT INTO occupancy.dpu (organization, dpu_id, name) "
                f"SELECT 1, 'dpu-' || i, '' FROM generate_series(0, {DPUS - 1}) AS i"
            )
            await connection.execute(LEDGER)
            await connection.execute(_function("ingest_crossings", LOCK, LEDGER_ENTRY + LOCK))
            await connection.execute(_function("ingest_new_crossings", INSERTED, INSERTED + LEDGER_ENTRY))
            if not outcome.fence:
                # everybody moves everything
                await connection.execute(_function("advance_offsets", CHECK, "WHERE false"))
        yield url


def _function(name: str, old: str, new: str) -> str:
    """The product's function with one thing changed."""
    text = (schema.sql_directory() / "functions" / f"{name}.sql").read_text()
    if text.count(old) != 1:
        raise RuntimeError(f"{name}.sql is expected to hold once: {old}")
    return text.replace(old, new)


async def run(
    server_url: str, seconds: float, *, fence: bool = True, broker: Broker | None = None
) -> Outcome:
    """Do things to workers for so long, let them catch up, and count."""
    outcome = Outcome(fence)
    began = time.monotonic()
    with ExitStack() as held:
        directory = Path(held.enter_context(tempfile.TemporaryDirectory()))
        used = broker or held.enter_context(tansu(directory))
        used.create_topic(TOPIC, PARTITIONS)
        async with prepared(server_url, outcome) as url, connected(url) as connection:
            crew = Crew(url, used, directory, outcome)
            sender = Sender(used)
            try:
                for _ in range(WORKERS):
                    crew.hire()
                sender.start()
                await _mistreat(crew, connection, seconds, outcome)
                await asyncio.to_thread(sender.stop)
                outcome.sent = sender.sent
                await _caught_up(crew, connection, outcome)
                await crew.dismiss_all()
                await _count(connection, outcome)
            finally:
                crew.end()
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


async def _mistreat(crew: Crew, connection: asyncpg.Connection, seconds: float, outcome: Outcome) -> None:
    await _until_someone_stores(connection)
    deadline = time.monotonic() + seconds
    # each at least once, however short the run is
    deeds = [crew.freeze, crew.kill, crew.freeze, crew.replace]
    place = 0
    while time.monotonic() < deadline or place < len(deeds):
        await deeds[place % len(deeds)]()
        place += 1
        await _end_a_session(connection, outcome)
        crew.check()
        await asyncio.sleep(random.uniform(0.5, 2))


async def _end_a_session(connection: asyncpg.Connection, outcome: Outcome) -> None:
    """As a server that fails over does: the worker does not hear whether its commit was made."""
    ended = await connection.fetchval(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'occupancy' AND pid <> pg_backend_pid() AND state <> 'idle' "
        "ORDER BY random() LIMIT 1"
    )
    outcome.what["sessions ended"] += bool(ended)


async def _until_someone_stores(connection: asyncpg.Connection) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await connection.fetchval("SELECT count(*) FROM stress.ledger"):
        assert time.monotonic() < deadline, "no worker stores anything"
        await asyncio.sleep(0.2)


async def _caught_up(crew: Crew, connection: asyncpg.Connection, outcome: Outcome) -> None:
    """Until all is stored, or nothing more is."""
    stored, since = -1, time.monotonic()
    while stored < outcome.sent and time.monotonic() - since < PATIENCE / 2:
        now = await connection.fetchval("SELECT count(DISTINCT seq) FROM stress.ledger")
        if now > stored:
            stored, since = now, time.monotonic()
        crew.check()
        await asyncio.sleep(0.5)


async def _count(connection: asyncpg.Connection, outcome: Outcome) -> None:
    outcome.stored = await connection.fetchval("SELECT count(*) FROM stress.ledger")
    outcome.unique = await connection.fetchval("SELECT count(DISTINCT seq) FROM stress.ledger")
    outcome.lost = await connection.fetchval(
        "SELECT count(*) FROM generate_series(0, $1::bigint - 1) AS seq "
        "WHERE seq NOT IN (SELECT crossing.seq FROM occupancy.crossing)",
        outcome.sent,
    )
    outcome.twice = outcome.stored - outcome.unique
    outcome.epochs = await connection.fetchval("SELECT sum(epoch)::bigint FROM occupancy.kafka_offset")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument(
        "--no-fence", action="store_true", help="show that the test finds what the fence prevents"
    )
    parser.add_argument("--broker", help="HOST:PORT instead of a tansu of its own; the topic must not exist")
    arguments = parser.parse_args()
    broker = None if arguments.broker is None else Broker(arguments.broker)
    outcome = asyncio.run(
        run(
            os.environ["OCCUPANCY_TEST_DATABASE_URL"],
            arguments.seconds,
            fence=not arguments.no_fence,
            broker=broker,
        )
    )
    sys.stdout.write(json.dumps(vars(outcome), indent=2) + "\n")
    sys.exit(outcome.lost > 0 or outcome.twice > 0 or bool(outcome.failed_workers))


if __name__ == "__main__":
    main()
