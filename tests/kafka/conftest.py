"""Workers in the test's own process, on brokers of the test run."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from occupancy.database import Database
from occupancy.kafka import identity, metrics
from occupancy.kafka.consumer import Worker
from occupancy.kafka.dead_letters import DeadLetters
from occupancy.kafka.producer import LogProducer
from occupancy.kafka.properties import producer_properties
from occupancy.settings import Settings
from tests.conftest import KEY
from tests.kafka.brokers import Broker, MockCluster, mock_cluster, tansu
from tests.sql.building import two_rooms

PATIENCE = 30.0
START = datetime(2026, 3, 2, 8, tzinfo=UTC)
# tansu lets a group begin after half the session timeout.
QUICK = {"session.timeout.ms": 2000, "heartbeat.interval.ms": 500}


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A tansu broker for the whole run; tests take `topic`."""
    with tansu(tmp_path_factory.mktemp("tansu")) as started:
        yield started


@pytest.fixture
def topic(broker: Broker) -> str:
    """A topic of the test's own on tansu, with three partitions."""
    name = f"events-{uuid4().hex[:8]}"
    broker.create_topic(name, 3)
    return name


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[MockCluster]:
    """A mock cluster of the test's own. It does not say which topic is which."""
    monkeypatch.setattr(identity, "_ASK_SECONDS", 0.1)
    with mock_cluster() as started:
        yield started


@pytest.fixture
async def rooms(connection: asyncpg.Connection) -> tuple[int, int]:
    """DPUs 283 and 423 between outside and two rooms."""
    return await two_rooms(connection)


def kafka_settings(address: str, topic: str, **change: Any) -> Settings:
    properties = QUICK | change.pop("properties", {})
    return Settings(
        api_key=SecretStr(KEY),
        refresh="off",
        database_connections=2,
        kafka_bootstrap_servers=address,
        kafka_topic=topic,
        kafka_group=f"group-{topic}",
        kafka_batch_wait=timedelta(milliseconds=50),
        kafka_properties=SecretStr(json.dumps(properties)),
        **change,
    )


@dataclass
class Running:
    """A worker that runs as a task, on connections of its own."""

    worker: Worker
    database: Database
    task: asyncio.Task[None]
    cleaners: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for something that the worker brings about; a worker that ends by an error fails the test."""
        deadline = time.monotonic() + PATIENCE
        while not await condition():
            assert time.monotonic() < deadline, "it did not happen"
            if self.task.done():
                self.task.result()
                raise AssertionError("the worker ended")
            await asyncio.sleep(0.05)


@asynccontextmanager
async def consuming(url: str, settings: Settings, *, accept_loss: bool = False) -> AsyncIterator[Running]:
    database = await Database.connect(url, 2, lock_timeout="5s")
    producer = letters = None
    if settings.kafka_dead_letter_topic is not None:
        producer = LogProducer(producer_properties(settings))
        letters = DeadLetters(producer, settings.kafka_dead_letter_topic)
    worker = Worker(settings, database, dead_letters=letters, accept_loss=accept_loss)
    running = Running(worker, database, asyncio.create_task(worker.run()))
    try:
        yield running
    finally:
        worker.stop()
        await asyncio.wait([running.task])
        if producer is not None:
            await asyncio.to_thread(producer.close)
        await database.close()
    if not running.task.cancelled() and (error := running.task.exception()) is not None:
        raise error


async def stored_offsets(connection: asyncpg.Connection, topic: str) -> int:
    """The sum of the next offsets: how many messages were passed, where none were deleted."""
    passed: int = await connection.fetchval(
        "SELECT coalesce(sum(next_offset), 0)::bigint FROM occupancy.kafka_offset WHERE topic = $1", topic
    )
    return passed


async def consumed(
    url: str, connection: asyncpg.Connection, settings: Settings, messages: int, **options: Any
) -> None:
    """Run a worker until it has passed so many messages, and stop it."""

    async def passed() -> bool:
        return await stored_offsets(connection, settings.kafka_topic) >= messages

    async with consuming(url, settings, **options) as running:
        await running.until(passed)


def event(number: int, dpu_id: str = "283", **change: Any) -> dict[str, Any]:
    at = START + timedelta(seconds=number)
    return {"dpu_id": dpu_id, "timestamp": at.isoformat(), "direction": 1, "seq": number} | change


async def kept(connection: asyncpg.Connection) -> dict[str, int]:
    """How many rejected events there are, by code."""
    rows = await connection.fetch("SELECT code, count(*) AS n FROM occupancy.rejected_event GROUP BY code")
    return {row["code"]: row["n"] for row in rows}


async def crossings(connection: asyncpg.Connection) -> list[int]:
    """The seqs of all crossings, sorted."""
    rows = await connection.fetch("SELECT seq FROM occupancy.crossing ORDER BY seq")
    return [row["seq"] for row in rows]


class Counted:
    """What counters grew by."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, str], float] = {}

    def __call__(self, name: str, **labels: str) -> float:
        of_worker = metrics.registry.get_sample_value(name, labels)
        now = REGISTRY.get_sample_value(name, labels) if of_worker is None else of_worker
        return (now or 0.0) - self._before.get((name, str(labels)), 0.0)

    def remember(self) -> None:
        for metric in [*REGISTRY.collect(), *metrics.registry.collect()]:
            for sample in metric.samples:
                self._before[sample.name, str(sample.labels)] = sample.value


@contextmanager
def counting() -> Iterator[Counted]:
    counted = Counted()
    counted.remember()
    yield counted
