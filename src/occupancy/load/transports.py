"""The ways to the service: HTTP, and Kafka in front of it."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from occupancy.errors import InvalidInput
from occupancy.load.generator import Generator
from occupancy.load.http import Answer, Endpoint, HttpPool
from occupancy.load.messages import Messages
from occupancy.load.tally import Delivery
from occupancy.load.verdict import Fate, Verdict, judge

_OTHER_FILES = 100
_METADATA_SECONDS = 10
_FLUSH_SECONDS = 1
# What librdkafka queues unless it is told.
_MOST_QUEUED = 100_000


class HttpTransport:
    """Requests to `POST /v1/events`."""

    def __init__(
        self, endpoint: Endpoint, connections: int, messages: Messages, generator: Generator
    ) -> None:
        self._messages = messages
        self._generator = generator
        self._connections = connections
        self._pool: HttpPool[Delivery] = HttpPool(endpoint, connections, self._answered, generator.free)

    async def open(self) -> None:
        _require_files(self._connections)
        if not await self._pool.open():
            raise InvalidInput(f"url: the service cannot be reached: {self._pool.failure}", field="url")

    async def close(self) -> None:
        await self._pool.close()

    def ready(self) -> bool:
        return self._pool.ready

    def send(self, delivery: Delivery) -> None:
        self._pool.post(delivery, self._messages.body(delivery.events))

    def poll(self) -> None:
        """Nothing: the event loop does it."""

    def expire(self, seconds: float) -> None:
        self._pool.expire(seconds)

    def _answered(self, delivery: Delivery, answer: Answer) -> None:
        self._generator.judged(delivery, judge(answer, len(delivery.events)))


def _require_files(connections: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _OTHER_FILES
    if needed > hard:
        raise InvalidInput(
            f"connections: this machine lets a process open {hard} files (ulimit -Hn)",
            field="connections",
            value=connections,
        )
    if needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


_DELIVERED = Verdict(Fate.ACKNOWLEDGED, "delivered", accepted=1)


class KafkaTransport:
    """Messages to a topic, one event each, keyed by `dpu_id`, acknowledged by all replicas in sync."""

    def __init__(
        self, topic: str, properties: Mapping[str, Any], messages: Messages, generator: Generator
    ) -> None:
        """`properties` are those of librdkafka."""
        self._topic = topic
        self._messages = messages
        self._generator = generator
        self._queued = 0
        # Beyond it, messages wait here, where their waiting is seen.
        self._most_queued = int(properties.get("queue.buffering.max.messages", _MOST_QUEUED))
        self._producer = Producer(dict(properties))

    async def open(self) -> None:
        try:
            self._producer.list_topics(self._topic, timeout=_METADATA_SECONDS)
        except KafkaException as error:
            raise InvalidInput(
                f"no broker answers: {error}", field="OCCUPANCY_KAFKA_BOOTSTRAP_SERVERS"
            ) from error

    async def close(self) -> None:
        self._producer.purge()
        self._producer.flush(_FLUSH_SECONDS)

    def ready(self) -> bool:
        return self._queued < self._most_queued

    def send(self, delivery: Delivery) -> None:
        event = delivery.events[0]
        self._queued += 1
        self._producer.produce(
            self._topic,
            self._messages.body(delivery.events),
            self._messages.key(event),
            on_delivery=partial(self._delivered, delivery),
        )

    def poll(self) -> None:
        """Hear of what was delivered; it calls `_delivered`."""
        self._producer.poll(0)

    def expire(self, seconds: float) -> None:
        """Nothing: librdkafka has a time limit of its own (`delivery.timeout.ms`)."""

    def _delivered(self, delivery: Delivery, error: KafkaError | None, _message: Message) -> None:
        self._queued -= 1
        if error is None:
            self._generator.judged(delivery, _DELIVERED)
        else:
            self._generator.judged(delivery, Verdict(Fate.UNKNOWN, error.name()))
        self._generator.free()
