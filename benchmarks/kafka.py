"""How fast one worker stores a topic, and what COPY of the same rows into the same hypertable takes."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
from tests.kafka.brokers import Broker, tansu

from benchmarks.databases import Connection, machine_facts, own_database

EVENTS = 1_000_000
PARTITIONS = 12
DPUS = 10_000
BATCH = 10_000
FIRST = datetime(2026, 1, 5, tzinfo=UTC)
# What 10,000 DPUs send at one event a minute each.
APART = timedelta(minutes=1) / DPUS
PATIENCE = 600.0
_TICKS = os.sysconf("SC_CLK_TCK")

TOPOLOGY = f"""
INSERT INTO occupancy.space (organization, space_id, name)
SELECT 1, 'room-' || i, '' FROM generate_series(1, 1000) AS i;
INSERT INTO occupancy.doorway (organization, doorway_id, name, side_a)
SELECT 1, 'door-' || i, '', i % 1000 + 1 FROM generate_series(1, {DPUS}) AS i;
INSERT INTO occupancy.dpu (organization, dpu_id, name)
SELECT 1, 'dpu-' || i, '' FROM generate_series(1, {DPUS}) AS i;
INSERT INTO occupancy.placement (organization, dpu, doorway, facing)
SELECT 1, i, i, 'a' FROM generate_series(1, {DPUS}) AS i;
ANALYZE;
"""
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"


@dataclass(frozen=True)
class Stored:
    """Events stored while it was measured, and what that took; processor seconds of each party, where it is here."""

    events: int
    seconds: float
    events_per_second: int
    client_cpu_seconds: float
    database_cpu_seconds: float
    broker_cpu_seconds: float | None


@dataclass
class Clocks:
    """Processor time of the three parties."""

    client: int | None
    backends: list[int]
    broker: int | None

    def read(self) -> tuple[float, float, float]:
        return _cpu(self.client), sum(_cpu(pid) for pid in self.backends), _cpu(self.broker)


def _cpu(pid: int | None) -> float:
    if pid is None:
        return 0.0
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS


async def run(server_url: str, results: Path, events: int, address: str | None) -> None:
    """Fill a topic, have it consumed, COPY the same, write the result."""
    with ExitStack() as held:
        directory = Path(held.enter_context(tempfile.TemporaryDirectory()))
        broker = held.enter_context(tansu(directory)) if address is None else Broker(address)
        topic = f"bench-{uuid4().hex[:8]}"
        broker.create_topic(topic, PARTITIONS)
        produced = _fill(broker, topic, events)
        async with own_database(server_url, "bench_kafka") as url:
            connection = await asyncpg.connect(url)
            try:
                await connection.execute(TOPOLOGY)
                copied = await _copy(url, connection, events)
                consumed = await _consume(url, connection, broker, topic, events)
            finally:
                await connection.close()
    report = {
        "machine": await machine_facts(server_url),
        "broker": "tansu in memory, on the same machine" if address is None else "given",
        "setting": {"dpus": DPUS, "partitions": PARTITIONS, "batch": BATCH, "events": events},
        "produced_per_second": produced,
        "consume": asdict(consumed),
        "copy": asdict(copied),
        "copy_to_consume": round(copied.events_per_second / consumed.events_per_second, 2),
    }
    print(json.dumps(report, indent=2))
    _write(report, results)


def _write(report: dict[str, Any], results: Path) -> None:
    results.mkdir(parents=True, exist_ok=True)
    (results / "kafka.json").write_text(json.dumps(report, indent=2) + "\n")


def _events(count: int) -> Iterator[tuple[int, datetime, int]]:
    for i in range(count):
        yield i % DPUS + 1, FIRST + i * APART, 1 if i // DPUS % 2 else -1


def _fill(broker: Broker, topic: str, count: int) -> int:
    began = time.perf_counter()
    broker.send(
        topic,
        (
            {
                "key": f"dpu-{dpu}".encode(),
                "value": f'{{"dpu_id":"dpu-{dpu}","timestamp":"{at.isoformat()}","direction":{direction}}}'.encode(),
            }
            for dpu, at, direction in _events(count)
        ),
        **{"queue.buffering.max.messages": 1_000_000, "compression.type": "lz4", "linger.ms": 20},
    )
    return round(count / (time.perf_counter() - began))


async def _consume(url: str, connection: Connection, broker: Broker, topic: str, events: int) -> Stored:
    with _worker(url, broker, topic) as worker:
        before = await _passed(connection, topic, 1, worker)
        backends = [row["pid"] for row in await connection.fetch(BACKENDS, "occupancy")]
        clocks = Clocks(worker.pid, backends, broker.pid)
        began, spent = time.perf_counter(), clocks.read()
        await _passed(connection, topic, events, worker)
        seconds = time.perf_counter() - began
        after = clocks.read()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    stored = await connection.fetchval("SELECT count(*) FROM occupancy.crossing")
    assert stored == events, f"{stored} of {events} events are stored"
    client, database, at_broker = (round(new - old, 2) for new, old in zip(after, spent, strict=True))
    measured = events - before
    return Stored(
        measured,
        round(seconds, 2),
        round(measured / seconds),
        client,
        database,
        None if broker.pid is None else at_broker,
    )


@contextmanager
def _worker(url: str, broker: Broker, topic: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {
        "OCCUPANCY_DATABASE_URL": url,
        "OCCUPANCY_KAFKA_BOOTSTRAP_SERVERS": broker.address,
        "OCCUPANCY_KAFKA_TOPIC": topic,
        "OCCUPANCY_KAFKA_BATCH_SIZE": str(BATCH),
        # tansu lets a group begin after half of it
        "OCCUPANCY_KAFKA_PROPERTIES": '{"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000}',
    }
    with subprocess.Popen([sys.executable, "-m", "occupancy", "consume"], env=environment) as worker:
        try:
            yield worker
        finally:
            worker.kill()


async def _passed(connection: Connection, topic: str, events: int, worker: subprocess.Popen[Any]) -> int:
    """Wait until so many events are passed; how many are."""
    deadline = time.monotonic() + PATIENCE
    while True:
        passed: int = await connection.fetchval(
            "SELECT coalesce(sum(next_offset), 0)::bigint FROM occupancy.kafka_offset WHERE topic = $1", topic
        )
        if passed >= events:
            return passed
        assert worker.poll() is None, "the worker ended"
        assert time.monotonic() < deadline, f"{passed} events are stored"
        await asyncio.sleep(0.05)


async def _copy(url: str, connection: Connection, events: int) -> Stored:
    """The same rows by COPY, as many at a time; then the table is empty again."""
    rows = [(dpu, at, direction, 0) for dpu, at, direction in _events(events)]
    writer = await asyncpg.connect(url, server_settings={"application_name": "copy"})
    try:
        backends = [row["pid"] for row in await connection.fetch(BACKENDS, "copy")]
        clocks = Clocks(None, backends, None)
        own = resource.getrusage(resource.RUSAGE_SELF)
        began, spent = time.perf_counter(), clocks.read()
        for place in range(0, events, BATCH):
            await writer.copy_records_to_table(
                "crossing",
                schema_name="occupancy",
                records=rows[place : place + BATCH],
                columns=["dpu", "time", "direction", "seq"],
            )
        seconds = time.perf_counter() - began
        after = clocks.read()
        used = resource.getrusage(resource.RUSAGE_SELF)
    finally:
        await writer.close()
    await connection.execute("TRUNCATE occupancy.crossing")
    client = used.ru_utime + used.ru_stime - own.ru_utime - own.ru_stime
    return Stored(
        events,
        round(seconds, 2),
        round(events / seconds),
        round(client, 2),
        round(after[1] - spent[1], 2),
        None,
    )


def main(server_url: str, results: Path, *, events: int, broker: str | None) -> None:
    asyncio.run(run(server_url, results, events, broker))
