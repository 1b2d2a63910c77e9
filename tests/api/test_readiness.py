"""Readiness while the database is away: what goes on without it, and when nothing does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import httpx
import pytest
from asgi_lifespan import LifespanManager

from occupancy.app import create_app
from occupancy.settings import Settings
from tests.conftest import KEY
from tests.kafka.brokers import MockCluster, mock_cluster
from tests.relay import Relay

EVENT = {"dpu_id": "283", "timestamp": "2026-03-02T11:00:00Z", "direction": 1}
AWAY = {"status": "degraded", "detail": "the database cannot be reached"}
COUNT = "/v1/spaces/house/count"


@asynccontextmanager
async def service(url: str, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with LifespanManager(create_app(settings, url)) as manager:
        transport = httpx.ASGITransport(app=manager.app)
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as caller:
            yield caller


@pytest.fixture
async def relay(database_url: str) -> AsyncIterator[Relay]:
    async with Relay.to(database_url) as opened:
        yield opened


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    with mock_cluster() as opened:
        opened.create_topic("events", 1)
        yield opened


def queueing(settings: Settings, cluster: MockCluster) -> Settings:
    return Settings(
        **settings.model_dump()
        | {
            "ingest": "kafka",
            "kafka_bootstrap_servers": cluster.address,
            "kafka_topic": "events",
            "kafka_send_timeout": timedelta(seconds=1),
            "kafka_properties": '{"reconnect.backoff.max.ms": 200}',
        }
    )


@pytest.mark.parametrize("fail", [Relay.cut, Relay.hang])
async def test_a_service_that_can_do_nothing_without_its_database_is_not_ready(
    relay: Relay, settings: Settings, fail: Callable[[Relay], None]
) -> None:
    async with service(relay.url, settings) as caller:
        assert (await caller.get("/readyz")).json() == {"status": "ok"}
        fail(relay)
        try:
            for _ in range(2):
                answer = await caller.get("/readyz")
                assert answer.status_code == 503
                assert (await caller.get("/healthz")).status_code == 200
        finally:
            relay.mend()
        assert (await caller.get("/readyz")).json() == {"status": "ok"}


async def test_a_database_that_hangs_is_not_waited_for_long(relay: Relay, settings: Settings) -> None:
    """Else whoever asks gives up first, and never learns that events go into Kafka."""
    async with service(relay.url, settings) as caller:
        relay.hang()
        try:
            # its statements may take a minute
            async with asyncio.timeout(30):
                assert (await caller.get("/readyz")).status_code == 503
        finally:
            relay.mend()


async def test_with_kafka_in_front_events_are_taken_while_the_database_is_away(
    relay: Relay, settings: Settings, cluster: MockCluster
) -> None:
    async with service(relay.url, queueing(settings, cluster)) as caller:
        assert (await caller.get("/readyz")).json() == {"status": "ok"}
        relay.cut()
        try:
            answer = await caller.get("/readyz")
            assert (answer.status_code, answer.json()) == (200, {**AWAY, "events": "kafka"})
            assert (await caller.post("/v1/events", json=EVENT)).status_code == 202
            assert (await caller.get(COUNT)).status_code == 503
            # and Kafka too
            cluster.order("down")
            answer = await caller.get("/readyz")
            assert answer.status_code == 503
            assert answer.json()["type"] == "urn:occupancy:problem:database-unavailable"
            cluster.order("up")
            answer = await caller.get("/readyz")
            assert (answer.status_code, answer.json()) == (200, {**AWAY, "events": "kafka"})
        finally:
            relay.mend()
        assert (await caller.get("/readyz")).json() == {"status": "ok"}


async def test_another_schema_is_no_matter_of_waiting(
    database_url: str, settings: Settings, cluster: MockCluster, connection: asyncpg.Connection
) -> None:
    comment = "SELECT obj_description('occupancy.alembic_version'::regclass)"
    stamp = await connection.fetchval(comment)
    async with service(database_url, queueing(settings, cluster)) as caller:
        await connection.execute("COMMENT ON TABLE occupancy.alembic_version IS 'older'")
        try:
            answer = await caller.get("/readyz")
            assert answer.status_code == 503
            assert "occupancy migrate" in answer.json()["detail"]
        finally:
            await connection.execute(f"COMMENT ON TABLE occupancy.alembic_version IS '{stamp}'")


async def test_a_replica_answers_for_as_long_as_it_is_fresh(
    relay: Relay, database_url: str, settings: Settings
) -> None:
    """The primary itself, by another way, is the replica here."""
    more = {"read_database_url": database_url, "read_max_lag": timedelta(seconds=3)}
    async with service(relay.url, Settings(**settings.model_dump() | more)) as caller:
        await caller.put("/v1/spaces/house", json={})
        assert (await caller.get("/readyz")).json() == {"status": "ok", "reads": "replica"}
        relay.cut()
        try:
            answer = await caller.get("/readyz")
            assert (answer.status_code, answer.json()) == (200, {**AWAY, "reads": "replica"})
            assert (await caller.get(COUNT)).status_code == 200
            for _ in range(40):
                await asyncio.sleep(0.25)
                if (await caller.get("/readyz")).status_code == 503:
                    break
            else:
                pytest.fail("it stayed ready")
            assert (await caller.get(COUNT)).status_code == 503
        finally:
            relay.mend()
