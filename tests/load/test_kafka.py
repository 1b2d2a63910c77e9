"""The load through Kafka, on the mock brokers of librdkafka: real connections, no server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from occupancy.errors import InvalidInput
from occupancy.load import Audit, Conduct, Phase, Plan, Report, Site, Target, run_load
from tests.load.service import Service, serving

TOPIC = "events-of-a-load"


@contextmanager
def mock_brokers() -> Iterator[str]:
    """Their addresses. They live in a producer, as long as it does."""
    owner = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "none", "log_level": 0})
    brokers = owner.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    del owner


@contextmanager
def consuming(servers: str, service: Service, after: float = 0.0) -> Iterator[list[bytes]]:
    """Feed the service in small from the topic, each message `after` seconds late; the keys it saw."""
    ended = threading.Event()
    loop = asyncio.get_running_loop()
    keys: list[bytes] = []

    def consume() -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": "test",
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        consumer.subscribe([TOPIC])
        while not ended.is_set():
            message = consumer.poll(0.05)
            value = None if message is None or message.error() else message.value()
            if message is None or value is None:
                continue
            keys.append(message.key() or b"")
            loop.call_soon_threadsafe(loop.call_later, after, service.ingest, value)
        consumer.close()

    thread = threading.Thread(target=consume)
    thread.start()
    try:
        yield keys
    finally:
        ended.set()
        thread.join()


async def loaded(servers: str, service: Service, plan: Plan, settle: float) -> Report:
    target = Target(
        f"http://127.0.0.1:{service.port}",
        kafka={"bootstrap.servers": servers, "acks": "all"},
        kafka_topic=TOPIC,
    )
    audit = Audit(every=0.1, spaces=4, settle=settle)
    return await run_load(plan, Site(plan.dpus), target, Conduct(), audit)


async def test_counts_follow_the_acknowledgement_by_what_the_consumer_needs() -> None:
    with mock_brokers() as servers:
        async with serving() as service:
            with consuming(servers, service, after=0.5) as keys:
                plan = Plan(40, (Phase(2, 100),), late=0.2, max_delay=10, duplicates=0.1)
                report = await loaded(servers, service, plan, settle=20)
    document: dict[str, Any] = report.document
    assert report.right
    assert document["messages"]["accepted"] == 200
    assert document["requests"]["by_answer"] == {"delivered": 200}
    assert document["counts"]["during"]["wrong"] == 0
    assert document["counts"]["afterwards"]["wrong"] == 0
    assert document["counts"]["afterwards"]["exactly"] == 11
    # The consumer was still at it when the load had ended: that is waited for, and told.
    assert 0.3 < document["counts"]["afterwards"]["seconds"] < 20
    sent = [json.dumps(body["dpu_id"]).strip('"').encode() for body in service.bodies]
    assert sorted(keys) == sorted(sent)
    assert len(keys) == 200


async def test_a_consumer_that_loses_messages_is_found_out() -> None:
    with mock_brokers() as servers:
        async with serving() as service:
            service.faults.drops = lambda event: event["seq"] == 2
            with consuming(servers, service):
                report = await loaded(servers, service, Plan(40, (Phase(1, 80),)), settle=1.5)
    assert not report.right
    assert report.document["counts"]["afterwards"]["wrong"] > 0


async def test_a_batch_is_for_http() -> None:
    with pytest.raises(InvalidInput) as refused:
        await run_load(
            Plan(1, (Phase(1, 1),), batch_size=2),
            Site(1),
            Target("http://127.0.0.1:1", kafka={}),
            Conduct(),
            None,
        )
    assert refused.value.field == "batch-size"
