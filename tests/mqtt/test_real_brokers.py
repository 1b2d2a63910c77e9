"""Events through brokers as they are used, into the database."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime

import asyncpg
import pytest

from occupancy.errors import Overloaded
from tests.mqtt.brokers import RealBroker
from tests.mqtt.conftest import Gated, at, bridging, until
from tests.sql.building import two_rooms

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ENTRANCE = "dpus/283/events"


def event(number: int, **values: object) -> dict[str, object]:
    return {"timestamp": f"2026-03-02T11:{number // 60:02}:{number % 60:02}Z", "direction": 1} | values


def sent(*events: dict[str, object]) -> list[tuple[str, bytes]]:
    return [(ENTRANCE, json.dumps(given).encode()) for given in events]


async def published(broker: RealBroker, messages: list[tuple[str, bytes]], qos: int = 1, **how: bool) -> None:
    await asyncio.to_thread(broker.publish, messages, qos, **how)


async def net(connection: asyncpg.Connection, space: int) -> int:
    found: int = await connection.fetchval("SELECT net FROM occupancy.count_at($1, $2)", space, NOON)
    return found


async def crossings(connection: asyncpg.Connection) -> int:
    found: int = await connection.fetchval("SELECT count(*) FROM occupancy.crossing")
    return found


async def connected(broker: RealBroker, sink: Gated, connection: asyncpg.Connection) -> None:
    """Wait until what is published now arrives: a first event, which counts for nobody."""

    async def arrives() -> bool:
        probe = event(0, dpu_id="probe")
        await published(broker, [("dpus/probe/events", json.dumps(probe).encode())], 0)
        await asyncio.sleep(0.1)
        return bool(sink.calls)

    await until(arrives)


async def test_events_arrive_and_count(
    broker: RealBroker, sink: Gated, connection: asyncpg.Connection
) -> None:
    space, _ = await two_rooms(connection)
    async with bridging(at(broker.port, broker.version), sink):
        await connected(broker, sink, connection)
        await published(broker, sent(*(event(number) for number in range(1, 31))))
        await published(broker, sent(event(31, direction=-1)), 2)
        await published(broker, sent(event(32, direction=-1)), 0)
        # all in one message, some twice
        batch = [event(number) for number in (30, 40, 41, 41)]
        await published(broker, [(ENTRANCE, json.dumps({"events": batch}).encode())])
        await until(lambda: _equals(crossings(connection), 34))
    assert await net(connection, space) == 30


async def _equals(found: object, wanted: int) -> bool:
    return bool(await found == wanted)  # type: ignore[misc]


async def test_poison_beside_good_events(
    broker: RealBroker, sink: Gated, connection: asyncpg.Connection
) -> None:
    space, _ = await two_rooms(connection)
    poison = [
        (ENTRANCE, b"{"),
        (ENTRANCE, b"\xff\xfe"),
        (ENTRANCE, b"x" * 5_000),
        (ENTRANCE, json.dumps(event(1, direction=5)).encode()),
        (ENTRANCE, json.dumps(event(1, dpu_id="423")).encode()),
        ("dpus/999/events", json.dumps(event(1)).encode()),
    ]
    async with bridging(at(broker.port, broker.version, max_body_bytes=4_000), sink):
        await connected(broker, sink, connection)
        good = sent(*(event(number) for number in range(1, 8)))
        mixed = [message for pair in zip(poison, good, strict=False) for message in pair] + good[
            len(poison) :
        ]
        await published(broker, mixed)
        await until(lambda: _equals(crossings(connection), 7))
    assert await net(connection, space) == 7
    kept = await connection.fetch("SELECT code, payload FROM occupancy.rejected_event ORDER BY id")
    assert sorted(row["code"] for row in kept) == [
        "invalid_direction",
        "invalid_json",
        "invalid_json",
        "message_too_large",
        "unknown_dpu",  # the first one, by which the connection is seen
        "unknown_dpu",
        "wrong_topic",
    ]
    assert (
        json.loads(next(row["payload"] for row in kept if row["code"] == "message_too_large")) == "x" * 5_000
    )


async def test_what_is_published_while_the_bridge_is_away_waits_in_the_session(
    broker: RealBroker, sink: Gated, connection: asyncpg.Connection
) -> None:
    space, _ = await two_rooms(connection)
    async with bridging(at(broker.port, broker.version), sink):
        await connected(broker, sink, connection)
    await published(broker, sent(*(event(number) for number in range(1, 21))))
    assert await crossings(connection) == 0
    async with bridging(at(broker.port, broker.version), sink):
        await until(lambda: _equals(crossings(connection), 20))
    assert await net(connection, space) == 20


async def test_overload_and_recovery(broker: RealBroker, sink: Gated, connection: asyncpg.Connection) -> None:
    await two_rooms(connection)
    async with bridging(at(broker.port, broker.version), sink):
        await connected(broker, sink, connection)
        sink.errors = [Overloaded("too many wait", retry_after=0.3)] * 4
        await published(broker, sent(*(event(number) for number in range(1, 101))))
        await until(lambda: _equals(crossings(connection), 100))
    assert sink.errors == []


async def test_a_retained_event_counts_once(
    broker: RealBroker, sink: Gated, connection: asyncpg.Connection
) -> None:
    space, _ = await two_rooms(connection)
    await published(broker, sent(event(1)), retain=True)
    # Each new session gets it.
    for name in ("bridge-1", "bridge-2"):
        before = len(sink.calls)
        async with bridging(at(broker.port, broker.version, mqtt_client_id=name), sink):
            await until(lambda before=before: len(sink.calls) > before)  # type: ignore[misc]
    assert await crossings(connection) == 1
    assert await net(connection, space) == 1


async def test_a_broker_that_starts_again_is_found_again(
    broker: RealBroker, sink: Gated, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await two_rooms(connection)
    async with bridging(at(broker.port, broker.version), sink):
        await connected(broker, sink, connection)
        await published(broker, sent(event(1)))
        await until(lambda: _equals(crossings(connection), 1))
        await asyncio.to_thread(broker.stop)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(broker.start)
        sink.calls.clear()
        await connected(broker, sink, connection)
        await published(broker, sent(event(2)))
        await until(lambda: _equals(crossings(connection), 2))
    assert ("forgotten the session" in caplog.text) is not broker.keeps_sessions_over_restarts


async def test_what_was_not_acknowledged_is_delivered_again(
    mosquitto_broker: RealBroker, sink: Gated, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("occupancy.mqtt.bridge._GRACE", 0.2)
    await two_rooms(connection)
    async with bridging(at(mosquitto_broker.port, mosquitto_broker.version), sink):
        await connected(mosquitto_broker, sink, connection)
        sink.calls.clear()
        sink.may.clear()
        await published(mosquitto_broker, sent(*(event(number) for number in range(1, 11))))
        await until(lambda: bool(sink.calls))
    assert await crossings(connection) == 0
    sink.may.set()
    async with bridging(at(mosquitto_broker.port, mosquitto_broker.version), sink):
        await until(lambda: _equals(crossings(connection), 10))


async def test_bridges_of_a_group_share_the_messages(
    mosquitto_broker: RealBroker, sink: Gated, connection: asyncpg.Connection
) -> None:
    await two_rooms(connection)
    other = Gated(sink._behind)
    first = at(mosquitto_broker.port, mqtt_group="g", mqtt_client_id="bridge-1")
    second = at(mosquitto_broker.port, mqtt_group="g", mqtt_client_id="bridge-2")
    async with bridging(first, sink), bridging(second, other):
        await connected(mosquitto_broker, sink, connection)
        await connected(mosquitto_broker, other, connection)
        sink.calls.clear()
        other.calls.clear()
        await published(mosquitto_broker, sent(*(event(number) for number in range(1, 101))))
        await until(lambda: _equals(crossings(connection), 100))
    shares = [sum(len(call.events) for call in each.calls) for each in (sink, other)]
    assert sum(shares) == 100
    assert min(shares) > 10


async def test_mosquitto_as_in_the_compose_file(
    mosquitto_as_shipped: RealBroker, sink: Gated, connection: asyncpg.Connection
) -> None:
    await two_rooms(connection)
    async with bridging(at(mosquitto_as_shipped.port), sink):
        own, another = sent(event(1)), [("dpus/423/events", json.dumps(event(1)).encode())]

        async def arrives() -> bool:
            # Some versions end the connection of a client that writes where it may not.
            with suppress(RuntimeError):
                await published(mosquitto_as_shipped, another)
            await published(mosquitto_as_shipped, own)
            await asyncio.sleep(0.1)
            return bool(sink.calls)

        await until(arrives)
        await until(lambda: _equals(crossings(connection), 1))
    # The user 283 may not write to the topic of 423.
    assert {dpu for call in sink.calls for dpu in call.events.dpu_ids} == {"283"}
