"""Brokers and bridges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest
from _pytest.mark.structures import ParameterSet

from occupancy.database import Database, Ingested
from occupancy.ingest.sink import Sink
from occupancy.mqtt import Bridge, Broker, Topic
from occupancy.parse import Parsed
from occupancy.settings import Settings
from tests.mqtt.amqtt_broker import PASSWORD
from tests.mqtt.brokers import PATIENCE, Amqtt, Mosquitto, MosquittoAsShipped, RealBroker, mosquitto
from tests.mqtt.scripted import ScriptedBroker

Until: TypeAlias = Callable[[Callable[[], bool | Awaitable[bool]]], Awaitable[None]]


def _as_mosquitto(kind: type[RealBroker]) -> ParameterSet:
    skip = pytest.mark.skipif(mosquitto() is None, reason="Mosquitto is not installed")
    return pytest.param(kind, marks=skip)


_MOSQUITTO = _as_mosquitto(Mosquitto)


def _running(broker: RealBroker) -> Iterator[RealBroker]:
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(params=[Amqtt, _MOSQUITTO])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealBroker]:
    """A real broker, running."""
    yield from _running(request.param(tmp_path))


@pytest.fixture(params=[_MOSQUITTO])
def mosquitto_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealBroker]:
    """One that speaks MQTT 5 and delivers again what was not acknowledged."""
    yield from _running(request.param(tmp_path))


@pytest.fixture(params=[_as_mosquitto(MosquittoAsShipped)])
def mosquitto_as_shipped(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealBroker]:
    """As in the compose file; the sensor is the DPU 283."""
    yield from _running(request.param(tmp_path))


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedBroker]:
    """A broker whose every packet is seen."""
    async with ScriptedBroker() as broker:
        yield broker


async def until(reached: Callable[[], bool | Awaitable[bool]], patience: float = PATIENCE) -> None:
    """Wait until something is so."""
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        answer = reached()
        if await answer if isinstance(answer, Awaitable) else answer:
            return
        assert asyncio.get_running_loop().time() < deadline, "it did not come about"
        await asyncio.sleep(0.02)


class Direct:
    """Each batch one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, organization: int, parsed: Parsed) -> Ingested:
        """Store."""
        return await self._database.ingest(organization, parsed)


class Gated:
    """Notes what is put; does it when it may. `errors` are raised first, one a call."""

    def __init__(self, behind: Sink | None = None) -> None:
        self.may = asyncio.Event()
        self.may.set()
        self.calls: list[Parsed] = []
        self.errors: list[Exception] = []
        self._behind = behind

    async def put(self, organization: int, parsed: Parsed) -> Ingested:
        """Wait, fail, or store."""
        self.calls.append(parsed)
        await self.may.wait()
        if self.errors:
            raise self.errors.pop(0)
        if self._behind is not None:
            return await self._behind.put(organization, parsed)
        return Ingested(accepted=len(parsed.events), rejected=parsed.rejected)


@pytest.fixture
def sink(database: Database) -> Gated:
    """Into the test's database."""
    return Gated(Direct(database))


def at(port: int, version: str = "5", **values: object) -> Settings:
    """Settings of a bridge to the broker on a loopback port."""
    given: dict[str, object] = {
        "mqtt_url": f"mqtt://bridge@127.0.0.1:{port}",
        "mqtt_password": PASSWORD,
        "mqtt_client_id": "bridge-1",
        "mqtt_version": version,
    }
    return Settings.model_validate(given | values)


@asynccontextmanager
async def bridging(settings: Settings, sink: Sink) -> AsyncIterator[Bridge]:
    """A bridge that runs meanwhile, and is stopped in good order."""
    bridge = Bridge(Broker.of(settings), Topic.parse(settings.mqtt_topic), sink, settings)
    running = asyncio.create_task(bridge.run())
    try:
        yield bridge
    finally:
        bridge.stop()
        await running


async def run(settings: Settings) -> None:
    """Run a bridge that ends by itself, soon."""
    bridge = Bridge(Broker.of(settings), Topic.parse(settings.mqtt_topic), Gated(), settings)
    async with asyncio.timeout(PATIENCE):
        await bridge.run()
