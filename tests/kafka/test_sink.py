"""Events into a topic: answered when they are durable, and not before."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from occupancy.errors import BrokerUnavailable, Overloaded
from occupancy.kafka.sink import KafkaSink
from occupancy.parse import Clock, Parsed, parse_events
from tests.kafka.brokers import PATIENCE, Broker, MockCluster
from tests.kafka.conftest import consumed, counting, crossings, event, kafka_settings

PRODUCE, INIT_PRODUCER_ID = 0, 22
NOT_ENOUGH_REPLICAS, TOPIC_REFUSED, INVALID_PRODUCER_EPOCH = 19, 29, 47


def parsed(*documents: Any) -> Parsed:
    clock = Clock(datetime.now(UTC), timedelta(minutes=5), datetime(2015, 1, 1, tzinfo=UTC))
    return parse_events(documents, clock)


@pytest.mark.usefixtures("rooms")
async def test_what_was_sent_is_what_the_worker_stores_and_keeps(
    broker: Broker, topic: str, database_url: str, connection: asyncpg.Connection
) -> None:
    settings = kafka_settings(broker.address, topic)
    wrong = [
        event(1, direction=7),
        event(2, timestamp=(datetime.now(UTC) + timedelta(hours=1)).isoformat()),
        "\x00 no event",
        {"dpu_id": "\ud800", "timestamp": None},
    ]
    async with KafkaSink(settings) as sink:
        result = await sink.put(
            1, parsed(event(5, "423"), *wrong, event(6, timestamp="2026-03-02T08:00:06.123456+01:00"))
        )
        assert result.accepted == 2
        codes = [(r.index, r.code) for r in result.rejected]
    assert [index for index, _ in codes] == [1, 2, 3, 4]
    found = broker.messages(topic, 6)
    assert {(m.key(), m.value()) for m in found} >= {
        (b"423", b'{"dpu_id":"423","timestamp":"2026-03-02T08:00:05Z","direction":1,"seq":5}'),
        (b"283", b'{"dpu_id":"283","timestamp":"2026-03-02T07:00:06.123456Z","direction":1,"seq":6}'),
    }
    await consumed(database_url, connection, settings, 6)
    assert await crossings(connection) == [5, 6]
    rows = await connection.fetch("SELECT code, detail, payload FROM occupancy.rejected_event")
    assert {(r["code"], r["detail"]) for r in rows} == {(r.code, r.detail) for r in result.rejected}
    kept = [json.loads(row["payload"]) for row in rows]
    assert event(1, direction=7) in kept
    assert {"occupancy:json": json.dumps("\x00 no event")} in kept


@pytest.mark.usefixtures("rooms")
@pytest.mark.parametrize("most_bytes", [1_000_000, 20_000])
async def test_a_rejected_event_larger_than_a_message_is_sent_in_part_with_its_reason(
    broker: Broker, topic: str, database_url: str, connection: asyncpg.Connection, most_bytes: int
) -> None:
    settings = kafka_settings(broker.address, topic, properties={"message.max.bytes": most_bytes})
    # each quotation mark takes three bytes more when it is sent as a text in a text
    huge = event(1, direction=7, note='"' * 3_000_000)
    async with KafkaSink(settings) as sink:
        result = await sink.put(1, parsed(huge, event(2), event(3, "x" * 3_000_000)))
    assert result.accepted == 1
    assert [rejected.code for rejected in result.rejected] == ["invalid_direction", "invalid_dpu_id"]
    await consumed(database_url, connection, settings, 3)
    assert await crossings(connection) == [2]
    rows = await connection.fetch("SELECT code, detail, payload FROM occupancy.rejected_event ORDER BY code")
    assert [(r["code"], r["detail"]) for r in rows] == [(r.code, r.detail) for r in result.rejected]
    kept = [json.loads(row["payload"]) for row in rows]
    longest = min(64 * 1024, most_bytes // 4)
    assert kept == [json.dumps(rejected.payload)[:longest] for rejected in result.rejected]


async def test_an_answer_waits_for_the_brokers(cluster: MockCluster) -> None:
    cluster.create_topic("events", 3)
    async with KafkaSink(kafka_settings(cluster.address, "events")) as sink:
        await sink.put(1, parsed(event(0)))
        cluster.order("delay", 400)
        began = asyncio.get_running_loop().time()
        await sink.put(1, parsed(event(1)))
        assert asyncio.get_running_loop().time() - began > 0.35


async def test_brokers_that_are_away_are_an_error_in_time_and_come_back(cluster: MockCluster) -> None:
    cluster.create_topic("events", 3)
    settings = kafka_settings(
        cluster.address,
        "events",
        kafka_send_timeout=timedelta(seconds=1),
        properties={"reconnect.backoff.max.ms": 200},
    )
    async with KafkaSink(settings) as sink:
        await sink.put(1, parsed(event(0)))
        cluster.order("down")
        with counting() as counted:
            with pytest.raises(BrokerUnavailable, match="did not acknowledge 2 of 2 events"):
                await asyncio.wait_for(sink.put(1, parsed(event(1), event(2))), 10)
            assert counted("occupancy_kafka_produced_events_total", outcome="failed") == 2
        cluster.order("up")
        async with asyncio.timeout(15):
            while True:
                try:
                    result = await sink.put(1, parsed(event(3)))
                    break
                except BrokerUnavailable:
                    pass
        assert result.accepted == 1


async def test_more_than_fits_is_refused_whole(cluster: MockCluster) -> None:
    cluster.create_topic("events", 3)
    settings = kafka_settings(
        cluster.address, "events", kafka_queue_size=10, kafka_send_timeout=timedelta(seconds=1)
    )
    async with KafkaSink(settings) as sink:
        cluster.order("down")
        waiting = asyncio.create_task(sink.put(1, parsed(*(event(i) for i in range(8)))))
        await asyncio.sleep(0.1)
        with pytest.raises(Overloaded, match="8 events wait for Kafka"):
            await sink.put(1, parsed(event(8), event(9), event(10)))
        with pytest.raises(BrokerUnavailable):
            await waiting
        # What was given up waits no longer; the client's own clock may be a little behind.
        async with asyncio.timeout(PATIENCE):
            while len(sink._producer._producer):  # noqa: ASYNC110 -- the client tells nobody
                await asyncio.sleep(0.05)
        with pytest.raises(BrokerUnavailable):
            await sink.put(1, parsed(*(event(i) for i in range(10))))


async def test_brokers_that_refuse_are_an_error(cluster: MockCluster) -> None:
    cluster.create_topic("events", 1)
    async with KafkaSink(kafka_settings(cluster.address, "events")) as sink:
        # tried again by the client itself
        cluster.order("errors", PRODUCE, NOT_ENOUGH_REPLICAS)
        assert (await sink.put(1, parsed(event(0)))).accepted == 1
        cluster.order("errors", PRODUCE, TOPIC_REFUSED)
        with pytest.raises(BrokerUnavailable, match=r"[Aa]uthoriz"):
            await sink.put(1, parsed(event(1)))
        # the client remembers a refusal, and does not even ask
        with pytest.raises(BrokerUnavailable, match=r"[Aa]uthoriz"):
            await sink.put(1, parsed(event(2)))
    found = cluster.messages("events", 1)
    assert [json.loads(m.value() or b"")["seq"] for m in found] == [0]


async def test_a_producer_that_cannot_go_on_is_made_anew(cluster: MockCluster) -> None:
    cluster.create_topic("events", 1)
    async with KafkaSink(kafka_settings(cluster.address, "events")) as sink:
        await sink.put(1, parsed(event(0)))
        sink._producer._producer.purge()
        sink._producer.mark_broken()
        before = sink._producer._producer
        assert (await sink.put(1, parsed(event(1)))).accepted == 1
        assert sink._producer._producer is not before
    assert len(cluster.messages("events", 2)) == 2


async def test_no_event_is_nothing_to_wait_for(cluster: MockCluster) -> None:
    async with KafkaSink(kafka_settings(cluster.address, "events")) as sink:
        assert (await sink.put(1, Parsed())).accepted == 0


async def test_a_sink_knows_whether_its_topic_is_there(broker: Broker, topic: str) -> None:
    for name, is_there in ((topic, True), (f"{topic}-no-such", False)):
        async with KafkaSink(kafka_settings(broker.address, name)) as sink:
            assert await sink.is_reachable() is is_there
