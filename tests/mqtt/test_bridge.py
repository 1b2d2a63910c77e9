"""What the bridge tells the broker, packet by packet."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import asyncpg
import pytest

from occupancy.errors import Busy, DatabaseUnavailable, Overloaded
from occupancy.mqtt import Bridge, Broker, Topic
from occupancy.mqtt.errors import BrokerRefused
from tests.mqtt.conftest import Gated, at, bridging, run, until
from tests.mqtt.scripted import ScriptedBroker

TOPIC = "dpus/283/events"


def event(number: int, **values: Any) -> bytes:
    at = f"2026-03-01T12:{number // 60 % 60:02}:{number % 60:02}Z"
    return json.dumps({"timestamp": at, "direction": 1, "seq": number} | values).encode()


def seqs(sink: Gated) -> list[int]:
    return [seq for call in sink.calls for seq in call.events.seqs]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_the_session_is_kept_and_named(scripted: ScriptedBroker, version: str) -> None:
    async with bridging(at(scripted.port, version, mqtt_max_inflight=7), Gated()):
        await until(lambda: scripted.is_connected)
    (connect,) = scripted.connects
    assert (connect.client_id, connect.username, connect.clean) == ("bridge-1", "bridge", False)
    assert connect.version == (5 if version == "5" else 4)
    wanted = (7, 7 * 86_400) if version == "5" else (None, None)
    assert (connect.receive_maximum, connect.session_expiry) == wanted
    assert scripted.filters == ["dpus/+/events"]
    assert scripted.disconnects == 1


async def test_bridges_of_a_group_share_a_subscription(scripted: ScriptedBroker) -> None:
    async with bridging(at(scripted.port, mqtt_group="counters"), Gated()):
        await until(lambda: scripted.is_connected)
    assert scripted.filters == ["$share/counters/dpus/+/events"]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_nothing_is_acknowledged_before_the_sink_has_returned(
    scripted: ScriptedBroker, version: str
) -> None:
    sink = Gated()
    sink.may.clear()
    async with bridging(at(scripted.port, version), sink):
        await until(lambda: scripted.is_connected)
        mid = await scripted.publish(TOPIC, event(1))
        await until(lambda: len(sink.calls) == 1)
        await asyncio.sleep(0.2)
        assert scripted.acknowledged == []
        sink.may.set()
        await until(lambda: scripted.acknowledged == [mid])


async def test_what_comes_during_a_write_is_written_together_and_acknowledged_in_order(
    scripted: ScriptedBroker,
) -> None:
    sink = Gated()
    sink.may.clear()
    async with bridging(at(scripted.port), sink):
        await until(lambda: scripted.is_connected)
        mids = [await scripted.publish(TOPIC, event(0))]
        await until(lambda: len(sink.calls) == 1)
        mids += [await scripted.publish(TOPIC, event(number)) for number in range(1, 500)]
        await asyncio.sleep(0.3)
        sink.may.set()
        await until(lambda: len(scripted.acknowledged) == 500)
    assert scripted.acknowledged == mids
    assert seqs(sink) == list(range(500))
    assert len(sink.calls) <= 3


async def test_a_message_of_many_events_is_written_in_portions_and_acknowledged_after_the_last(
    scripted: ScriptedBroker,
) -> None:
    sink = Gated()
    async with bridging(at(scripted.port, max_events_per_transaction=10), sink):
        await until(lambda: scripted.is_connected)
        sink.errors = [Busy("not the first time")]
        await scripted.publish(TOPIC, b"[" + b",".join(event(number) for number in range(35)) + b"]")
        await until(lambda: len(scripted.acknowledged) == 1)
    assert [len(call.events) for call in sink.calls] == [10, 10, 10, 10, 5]


@pytest.mark.parametrize(
    "error",
    [
        Overloaded("too much", retry_after=0.01),
        DatabaseUnavailable("it is away"),
        Busy("locked"),
        RuntimeError("whatever"),
        asyncpg.DiskFullError("full"),
    ],
)
async def test_what_cannot_be_stored_now_is_tried_again_and_not_acknowledged(
    scripted: ScriptedBroker, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sink = Gated()
    sink.errors = [error] * 3
    async with bridging(at(scripted.port), sink):
        await until(lambda: scripted.is_connected)
        await scripted.publish(TOPIC, event(1))
        await until(lambda: len(sink.calls) >= 2)
        assert scripted.acknowledged == []
        await until(lambda: len(scripted.acknowledged) == 1)
    assert seqs(sink) == [1, 1, 1, 1]
    # once a change of state, not once a try
    told = [record.message for record in caplog.records if "stored" in record.message]
    assert len(told) == 2
    assert told[1] == "events are stored again"


async def test_an_event_that_the_sink_can_never_take_is_kept_aside_and_holds_up_nothing(
    scripted: ScriptedBroker,
) -> None:
    class Picky(Gated):
        async def put(self, organization: int, parsed: Any) -> Any:
            if 3 in parsed.events.seqs:
                raise asyncpg.DataError("no \ud800 here")
            return await super().put(organization, parsed)

    sink = Picky()
    sink.may.clear()
    async with bridging(at(scripted.port), sink):
        await until(lambda: scripted.is_connected)
        mids = [await scripted.publish(TOPIC, event(0))]
        await until(lambda: len(sink.calls) == 1)
        mids += [await scripted.publish(TOPIC, event(number)) for number in range(1, 6)]
        await asyncio.sleep(0.2)
        sink.may.set()
        await until(lambda: len(scripted.acknowledged) == 6)
    assert scripted.acknowledged == mids
    assert seqs(sink) == [0, 1, 2, 4, 5]
    (kept,) = [rejected for call in sink.calls for rejected in call.rejected]
    assert kept.code == "unstorable"
    assert kept.payload == event(3).decode()
    assert "\ud800" not in kept.detail


async def test_what_was_not_acknowledged_comes_again_and_no_acknowledgement_is_for_another_message(
    scripted: ScriptedBroker,
) -> None:
    sink = Gated()
    sink.may.clear()
    async with bridging(at(scripted.port), sink):
        await until(lambda: scripted.is_connected)
        await scripted.publish(TOPIC, event(1))
        await until(lambda: len(sink.calls) == 1)
        await scripted.publish(TOPIC, event(2))
        await asyncio.sleep(0.1)
        await scripted.cut()
        await until(lambda: scripted.is_connected)
        await until(lambda: scripted.redelivered == 2)
        sink.may.set()
        await until(lambda: scripted.unacknowledged == {})
        # Identifiers are used again at once: an acknowledgement too many would be for one of these.
        sink.may.clear()
        await scripted.publish(TOPIC, event(3))
        await asyncio.sleep(0.2)
        assert len(scripted.unacknowledged) == 1
        sink.may.set()
        await until(lambda: scripted.unacknowledged == {})
    assert scripted.strange_acknowledgements == []
    assert seqs(sink) == [1, 2, 1, 2, 3]


async def test_qos_0_and_retained_messages_count_too(scripted: ScriptedBroker) -> None:
    sink = Gated()
    async with bridging(at(scripted.port), sink):
        await until(lambda: scripted.is_connected)
        await scripted.publish(TOPIC, event(1), qos=0)
        await scripted.publish(TOPIC, event(2), retain=True)
        await until(lambda: len(seqs(sink)) == 2)
        await until(lambda: len(scripted.acknowledged) == 1)


async def test_poison_is_acknowledged(scripted: ScriptedBroker) -> None:
    sink = Gated()
    async with bridging(at(scripted.port, max_body_bytes=1000), sink):
        await until(lambda: scripted.is_connected)
        await scripted.publish(TOPIC, b"{")
        await scripted.publish(TOPIC, b"\xff")
        await scripted.publish(TOPIC, b"x" * 5_000)
        await scripted.publish("elsewhere", event(1))
        await scripted.publish("dpus/\udcff/events", event(2))
        await scripted.publish(TOPIC, b"")
        await scripted.publish(TOPIC, event(3))
        await until(lambda: len(scripted.acknowledged) == 7)
    assert seqs(sink) == [3]
    codes = [rejected.code for call in sink.calls for rejected in call.rejected]
    assert codes == ["invalid_json", "invalid_json", "message_too_large", "wrong_topic", "wrong_topic"]


async def test_a_full_queue_stops_reading_until_there_is_room(scripted: ScriptedBroker) -> None:
    sink = Gated()
    sink.may.clear()
    settings = at(scripted.port, "3.1.1", mqtt_max_inflight=5, max_body_bytes=200_000)
    async with bridging(settings, sink) as bridge:
        await until(lambda: scripted.is_connected)

        async def flood() -> None:
            for number in range(200):
                await scripted.publish(TOPIC, event(number, note="x" * 100_000), qos=0)

        flooding = asyncio.create_task(flood())
        await asyncio.sleep(1)
        # 20 MB do not fit into the buffers between the two: TCP holds the broker back.
        assert not flooding.done()
        held = len(bridge._inbox)
        assert held <= 10
        sink.may.set()
        await flooding
        await until(lambda: len(seqs(sink)) == 200)
    assert seqs(sink) == list(range(200))


async def test_who_cannot_read_for_long_disconnects_and_comes_back_when_there_is_room(
    scripted: ScriptedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Gated()
    sink.may.clear()
    settings = at(scripted.port, "3.1.1", mqtt_max_inflight=2, mqtt_keepalive="PT5S")
    async with bridging(settings, sink):
        await until(lambda: scripted.is_connected)
        for number in range(10):
            await scripted.publish(TOPIC, event(number))
        await until(lambda: scripted.disconnects == 1)
        await asyncio.sleep(1)
        assert len(scripted.connects) == 1
        sink.may.set()
        await until(lambda: scripted.unacknowledged == {})
    assert set(seqs(sink)) == set(range(10))
    assert scripted.strange_acknowledgements == []


async def test_an_idle_connection_is_kept_alive(scripted: ScriptedBroker) -> None:
    async with bridging(at(scripted.port, mqtt_keepalive="PT5S"), Gated()):
        await until(lambda: scripted.is_connected)
        await until(lambda: scripted.pings >= 1)
        await asyncio.sleep(1)
        assert len(scripted.connects) == 1


async def test_a_broker_that_is_away_is_waited_for_and_told_of_once(
    scripted: ScriptedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await scripted.stop()
    async with bridging(at(scripted.port), Gated()):
        await asyncio.sleep(2)
        await scripted.start()
        await until(lambda: scripted.is_connected)
    told = [record.message for record in caplog.records if "cannot be reached" in record.message]
    assert len(told) == 1


async def test_a_forgotten_session_is_told_of(
    scripted: ScriptedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async with bridging(at(scripted.port), Gated()):
        await until(lambda: scripted.is_connected)
        await scripted.cut()
        await until(lambda: scripted.is_connected)
        assert "forgotten" not in caplog.text
        scripted.forget_session()
        await scripted.cut()
        await until(lambda: scripted.is_connected)
        await until(lambda: "the broker has forgotten the session" in caplog.text)


@pytest.mark.parametrize(
    ("version", "code", "words"),
    [
        ("5", 0x86, "Bad user name or password"),
        ("5", 0x87, "Not authorized"),
        ("3.1.1", 4, "Bad user name or password"),
        ("3.1.1", 5, "Not authorized"),
        ("5", 0x01, "set OCCUPANCY_MQTT_VERSION=3.1.1"),
    ],
)
async def test_who_is_not_let_in_at_the_start_gives_up(
    scripted: ScriptedBroker, version: str, code: int, words: str
) -> None:
    scripted.refuse = code
    settings = at(scripted.port, version)
    with pytest.raises(BrokerRefused, match=words) as caught:
        await run(settings)
    assert "right" not in str(caught.value)


async def test_a_refused_subscription_is_an_error_at_the_start(scripted: ScriptedBroker) -> None:
    scripted.granted = 0x87
    settings = at(scripted.port)
    with pytest.raises(BrokerRefused, match="subscription to 'dpus/\\+/events'"):
        await run(settings)


async def test_a_broker_without_shared_subscriptions_is_an_error_for_a_group(
    scripted: ScriptedBroker,
) -> None:
    scripted.properties = b"\x2a\x00"
    with pytest.raises(BrokerRefused, match="no shared subscriptions"):
        await run(at(scripted.port, mqtt_group="g"))


@pytest.mark.parametrize(
    ("properties", "granted", "words"),
    [
        (b"\x11\x00\x00\x00\x3c", 1, "keeps the session for 60 s, not the 604800 s"),
        (b"", 0, "delivers with QoS 0 only"),
    ],
)
async def test_a_broker_that_promises_less_is_told_of(
    scripted: ScriptedBroker, caplog: pytest.LogCaptureFixture, properties: bytes, granted: int, words: str
) -> None:
    scripted.properties = properties
    scripted.granted = granted
    async with bridging(at(scripted.port), Gated()):
        await until(lambda: words in caplog.text)


async def test_why_the_broker_ends_the_connection_is_told(
    scripted: ScriptedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async with bridging(at(scripted.port), Gated()):
        await until(lambda: scripted.is_connected)
        await scripted.disconnect(0x8E)
        await until(lambda: "the broker disconnected: Session taken over" in caplog.text)
        await until(lambda: scripted.is_connected)


@pytest.mark.parametrize("code", [0x88, 0x89])
async def test_a_broker_that_cannot_now_is_asked_again(scripted: ScriptedBroker, code: int) -> None:
    scripted.refuse = code
    async with bridging(at(scripted.port), Gated()):
        await until(lambda: len(scripted.connects) >= 2)
        scripted.refuse = 0
        await until(lambda: scripted.is_connected)


async def test_who_was_let_in_once_tries_again_when_refused(scripted: ScriptedBroker) -> None:
    async with bridging(at(scripted.port), Gated()):
        await until(lambda: scripted.is_connected)
        scripted.refuse = 0x87
        await scripted.cut()
        await until(lambda: len(scripted.connects) >= 3)
        scripted.refuse = 0
        await until(lambda: scripted.is_connected)


async def test_stop_stores_and_acknowledges_what_was_received(scripted: ScriptedBroker) -> None:
    sink = Gated()
    sink.may.clear()
    async with bridging(at(scripted.port), sink) as bridge:
        await until(lambda: scripted.is_connected)
        for number in range(50):
            await scripted.publish(TOPIC, event(number))
        await until(lambda: len(bridge._inbox) == 50)
        bridge.stop()
        await asyncio.sleep(0.1)
        late = await scripted.publish(TOPIC, event(99))
        await asyncio.sleep(0.1)
        assert scripted.disconnects == 0
        sink.may.set()
    await until(lambda: scripted.disconnects == 1)
    assert seqs(sink) == list(range(50))
    assert len(scripted.acknowledged) == 50
    assert list(scripted.unacknowledged) == [late]


async def test_stop_leaves_to_the_broker_what_cannot_be_stored(
    scripted: ScriptedBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("occupancy.mqtt.bridge._GRACE", 0.3)
    sink = Gated()
    sink.may.clear()
    async with asyncio.timeout(5), bridging(at(scripted.port), sink):
        await until(lambda: scripted.is_connected)
        await scripted.publish(TOPIC, event(1))
        await until(lambda: len(sink.calls) == 1)
    assert scripted.acknowledged == []
    assert len(scripted.unacknowledged) == 1
    assert "stopped with 1 messages" in caplog.text


async def test_stop_while_the_broker_is_away(scripted: ScriptedBroker) -> None:
    await scripted.stop()
    async with asyncio.timeout(10), bridging(at(scripted.port), Gated()):
        await asyncio.sleep(0.3)


async def test_stop_while_the_broker_is_silent(scripted: ScriptedBroker) -> None:
    scripted.silent = True
    async with asyncio.timeout(3), bridging(at(scripted.port), Gated()):
        await until(lambda: len(scripted.connects) == 1)


async def test_a_fault_of_the_bridge_itself_ends_it(
    scripted: ScriptedBroker,
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a fault")

    settings = at(scripted.port)
    running = asyncio.create_task(
        Bridge(Broker.of(settings), Topic.parse("a"), Gated(), settings, fail).run()
    )
    await until(lambda: scripted.is_connected)
    await scripted.publish("a", event(1, dpu_id="1"))
    with pytest.raises(AssertionError, match="a fault"):
        await asyncio.wait_for(running, 10)
    assert scripted.acknowledged == []
