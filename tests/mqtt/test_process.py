"""`occupancy mqtt-bridge` as a process: killed, stopped, and told what cannot be."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest

from tests.mqtt.amqtt_broker import PASSWORD
from tests.mqtt.brokers import RealBroker, free_port
from tests.mqtt.conftest import until
from tests.mqtt.scripted import ScriptedBroker
from tests.mqtt.stalling import Stalling
from tests.mqtt.test_bridge import TOPIC, event
from tests.sql.building import two_rooms


def environment(url: str, port: int, version: str = "5", **values: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OCCUPANCY_")}
    return inherited | {
        "OCCUPANCY_DATABASE_URL": url,
        "OCCUPANCY_MQTT_URL": f"mqtt://bridge@127.0.0.1:{port}",
        "OCCUPANCY_MQTT_PASSWORD": PASSWORD,
        "OCCUPANCY_MQTT_CLIENT_ID": "bridge-1",
        "OCCUPANCY_MQTT_VERSION": version,
        **values,
    }


@asynccontextmanager
async def bridge_process(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "occupancy", "mqtt-bridge"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def stored(connection: asyncpg.Connection) -> list[int]:
    rows = await connection.fetch("SELECT seq FROM occupancy.crossing ORDER BY seq")
    return [row["seq"] for row in rows]


@pytest.mark.parametrize("held", ["requests", "answers"])
async def test_a_bridge_killed_between_reception_and_acknowledgement_loses_and_doubles_nothing(
    scripted: ScriptedBroker, database_url: str, connection: asyncpg.Connection, held: str
) -> None:
    space, _ = await two_rooms(connection)
    async with Stalling(database_url) as stalling:
        settings = environment(stalling.url, scripted.port)
        async with bridge_process(settings) as process:
            await until(lambda: scripted.is_connected)
            await scripted.publish(TOPIC, event(0))
            await until(lambda: len(scripted.acknowledged) == 1)
            # From here the process receives, but does not learn of any commit.
            getattr(stalling, held).clear()
            for number in range(1, 21):
                await scripted.publish(TOPIC, event(number))
            if held == "answers":
                await until(lambda: _is_longer(connection, 1))
            await asyncio.sleep(0.5)
            assert len(scripted.acknowledged) == 1
            process.send_signal(signal.SIGKILL)
            await process.wait()
    # With answers held, something was committed that the broker has not heard of.
    assert (len(await stored(connection)) > 1) is (held == "answers")
    assert len(scripted.unacknowledged) == 20
    async with bridge_process(environment(database_url, scripted.port)):
        await until(lambda: scripted.unacknowledged == {})
    assert scripted.redelivered >= 20
    assert await stored(connection) == list(range(21))
    count = await connection.fetchval("SELECT net FROM occupancy.count_at($1, now())", space)
    assert count == 21


async def _is_longer(connection: asyncpg.Connection, length: int) -> bool:
    return len(await stored(connection)) > length


async def test_mosquitto_delivers_again_what_a_killed_bridge_had_received(
    mosquitto_broker: RealBroker, database_url: str, connection: asyncpg.Connection
) -> None:
    await two_rooms(connection)
    messages = [(TOPIC, event(number)) for number in range(1, 16)]
    async with (
        Stalling(database_url) as stalling,
        bridge_process(environment(stalling.url, mosquitto_broker.port)) as process,
    ):
        assert process.stdout is not None
        await process.stdout.readuntil(b"connected to")
        stalling.requests.clear()
        await asyncio.to_thread(mosquitto_broker.publish, messages)
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert await stored(connection) == []
    async with bridge_process(environment(database_url, mosquitto_broker.port)):
        await until(lambda: _is_longer(connection, 14))
    assert await stored(connection) == list(range(1, 16))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_good_order(
    scripted: ScriptedBroker, database_url: str, connection: asyncpg.Connection, number: int
) -> None:
    await two_rooms(connection)
    async with (
        Stalling(database_url) as stalling,
        bridge_process(environment(stalling.url, scripted.port)) as process,
    ):
        await until(lambda: scripted.is_connected)
        stalling.requests.clear()
        for place in range(10):
            await scripted.publish(TOPIC, event(place))
        await asyncio.sleep(0.3)
        process.send_signal(number)
        await asyncio.sleep(0.3)
        assert scripted.acknowledged == []
        stalling.requests.set()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    await until(lambda: scripted.disconnects == 1)
    assert scripted.unacknowledged == {}
    assert await stored(connection) == list(range(10))


async def test_a_wrong_password_is_one_clear_line_and_exit_status_1(
    broker: RealBroker, database_url: str
) -> None:
    wrong = environment(database_url, broker.port, broker.version, OCCUPANCY_MQTT_PASSWORD="not-this-one")
    async with bridge_process(wrong) as process:
        output, _ = await asyncio.wait_for(process.communicate(), 30)
    text = re.sub(r"\s+", " ", output.decode())
    assert process.returncode == 1
    assert f"mqtt://127.0.0.1:{broker.port} refuses the connection: Not authorized" in text
    assert "Traceback" not in text
    assert "not-this-one" not in text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"OCCUPANCY_MQTT_TOPIC": "a/#/b"}, "OCCUPANCY_MQTT_TOPIC 'a/#/b'"),
        ({"OCCUPANCY_MQTT_URL": "mqtt://bridge:secret-one@h:port"}, "OCCUPANCY_MQTT_URL is no URL"),
        ({"OCCUPANCY_MQTT_KEEPALIVE": "PT1S"}, "OCCUPANCY_MQTT_KEEPALIVE"),
    ],
)
async def test_a_setting_that_cannot_be_is_named(
    database_url: str, values: dict[str, str], words: str
) -> None:
    async with bridge_process(environment(database_url, 1, **values)) as process:
        output, _ = await asyncio.wait_for(process.communicate(), 30)
    text = re.sub(r"\s+", " ", output.decode())
    assert process.returncode == 1
    assert words in text
    assert "Traceback" not in text
    assert "secret-one" not in text


async def test_what_prometheus_reads(
    scripted: ScriptedBroker, database_url: str, connection: asyncpg.Connection
) -> None:
    await two_rooms(connection)
    port = free_port()
    settings = environment(database_url, scripted.port, OCCUPANCY_METRICS_PORT=str(port))
    async with bridge_process(settings), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await until(lambda: scripted.is_connected)
        await scripted.publish(TOPIC, event(1))
        await scripted.publish(TOPIC, event(1))
        await scripted.publish(TOPIC, b"{")
        await until(lambda: len(scripted.acknowledged) == 3)
        assert (await client.get("/healthz")).status_code == 200
        text = (await client.get("/metrics")).text
        await scripted.cut()
        await until(lambda: scripted.is_connected)
        later = (await client.get("/metrics")).text
    for line in (
        'occupancy_mqtt_messages_received_total{qos="1"} 3.0',
        "occupancy_mqtt_messages_acknowledged_total 3.0",
        "occupancy_mqtt_messages_in_flight 0.0",
        "occupancy_mqtt_connected 1.0",
        "occupancy_mqtt_connections_total 1.0",
        "occupancy_mqtt_acknowledgement_seconds_count 3.0",
        'occupancy_events_total{outcome="accepted"} 1.0',
        'occupancy_events_total{outcome="duplicate"} 1.0',
        'occupancy_events_total{outcome="invalid_json"} 1.0',
    ):
        assert line in text.splitlines(), line
    assert "occupancy_mqtt_connections_total 2.0" in later
