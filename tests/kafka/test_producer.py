"""The producer when the client fails in ways that no broker here can be made to cause."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from pydantic import ValidationError

from occupancy.errors import BrokerUnavailable
from occupancy.kafka.producer import LogProducer
from occupancy.kafka.sink import KafkaSink
from occupancy.parse import Events, Parsed
from occupancy.settings import Settings


class Client:
    """Takes messages; its poll raises until the next one is made, as that of a client does that cannot go on."""

    made = 0

    def __init__(self, _properties: dict[str, Any]) -> None:
        Client.made += 1
        self._is_first = Client.made == 1
        self._reports: list[Any] = []

    def produce(self, *_message: Any, on_delivery: Any, **_more: Any) -> None:
        self._reports.append(on_delivery)

    def poll(self, seconds: float) -> int:
        time.sleep(min(seconds, 0.01))
        if self._is_first:
            raise KafkaException(KafkaError(KafkaError._FATAL))
        for report in self._reports:
            report(None, None)
        served = len(self._reports)
        self._reports.clear()
        return served

    def flush(self, _seconds: float) -> int:
        return 0

    def __len__(self) -> int:
        return 0


def never_reports(_client: Client, seconds: float) -> int:
    time.sleep(min(seconds, 0.01))
    return 0


@pytest.fixture(autouse=True)
def _client(monkeypatch: pytest.MonkeyPatch) -> None:
    Client.made = 0
    monkeypatch.setattr("occupancy.kafka.producer.Producer", Client)


def settings() -> Settings:
    return Settings(kafka_bootstrap_servers="127.0.0.1:1")


def parsed() -> Parsed:
    return Parsed(Events([0], ["283"], [datetime.now(UTC)], [1], [0]))


def test_the_thread_that_serves_reports_outlives_what_the_client_raises() -> None:
    producer = LogProducer({})
    delivered: list[Any] = []
    time.sleep(0.1)
    producer.produce("topic", b"", None, report=lambda error, _message: delivered.append(error))
    deadline = time.monotonic() + 5
    while not delivered and time.monotonic() < deadline:
        time.sleep(0.01)
    assert delivered == [None]
    assert Client.made == 2
    producer.close()


async def test_a_report_that_never_comes_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = KafkaSink(settings())
    monkeypatch.setattr(sink, "_patience", 0.1)
    monkeypatch.setattr(Client, "poll", never_reports)
    async with asyncio.timeout(5):
        with pytest.raises(BrokerUnavailable):
            await sink.put(1, parsed())
    assert sink.waiting == 0
    # its thread would go on to the end of the run
    await asyncio.to_thread(sink._producer.close)


def test_dead_letters_have_a_topic_of_their_own() -> None:
    with pytest.raises(ValidationError, match="OCCUPANCY_KAFKA_DEAD_LETTER_TOPIC"):
        Settings(kafka_topic="events", kafka_dead_letter_topic="events")
