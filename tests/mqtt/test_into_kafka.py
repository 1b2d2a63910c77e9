"""With OCCUPANCY_INGEST=kafka: acknowledged to the MQTT broker once Kafka has it, and stored by a worker."""

from __future__ import annotations

import asyncio
import json
import signal

from tests.kafka.brokers import mock_cluster
from tests.mqtt.conftest import until
from tests.mqtt.scripted import ScriptedBroker
from tests.mqtt.test_bridge import TOPIC, event
from tests.mqtt.test_process import bridge_process, environment


async def test_a_message_is_acknowledged_when_kafka_has_its_events(scripted: ScriptedBroker) -> None:
    with mock_cluster() as cluster:
        cluster.create_topic("events", 3)
        settings = environment(
            # nobody listens there, and nobody has to
            "postgresql://postgres@127.0.0.1:9/none",
            scripted.port,
            OCCUPANCY_INGEST="kafka",
            OCCUPANCY_KAFKA_BOOTSTRAP_SERVERS=cluster.address,
            OCCUPANCY_KAFKA_TOPIC="events",
            OCCUPANCY_KAFKA_SEND_TIMEOUT="PT1S",
            OCCUPANCY_KAFKA_PROPERTIES='{"reconnect.backoff.max.ms": 200}',
        )
        async with bridge_process(settings) as process:
            await until(lambda: scripted.is_connected)
            await scripted.publish(TOPIC, event(1))
            await scripted.publish(TOPIC, b"{")
            await until(lambda: len(scripted.acknowledged) == 2)
            cluster.order("down")
            await scripted.publish(TOPIC, event(2))
            await asyncio.sleep(1.5)
            assert len(scripted.acknowledged) == 2
            cluster.order("up")
            await until(lambda: len(scripted.acknowledged) == 3)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 20) == 0
        found = await asyncio.to_thread(cluster.messages, "events", 3)
    values = [json.loads(message.value() or b"") for message in found]
    assert {value["seq"] for value in values if isinstance(value, dict)} == {1, 2}
    assert "{" in values
