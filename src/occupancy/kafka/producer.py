"""Events into a topic: durable once the brokers say so."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from occupancy.errors import InvalidInput

_log = logging.getLogger(__name__)

Headers = list[tuple[str, str | bytes | None]]
Report = Callable[[KafkaError | None, Message], None]
# What is still on its way at the end may take so long.
_FLUSH_SECONDS = 10.0


class LogProducer:
    """An idempotent producer and the thread that hears its delivery reports.

    A fatal error (of the client: its sequence numbers no longer fit those of the brokers) ends a producer of librdkafka
    for good; the next message is sent by a new one.
    """

    def __init__(self, properties: dict[str, Any]) -> None:
        self._properties = properties
        self._producer = self._new()
        self._ended: list[Producer] = []
        self._broken = False
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="kafka-delivery", daemon=True)
        self._thread.start()

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        *,
        headers: Headers | None = None,
        report: Report,
    ) -> None:
        """Send one message. `report` is called once, in another thread, when it is durable or given up.

        Raises BufferError where too many wait.
        """
        if self._broken:
            self._renew()
        self._producer.produce(topic, value, key, headers=headers, on_delivery=report)

    def knows(self, topic: str, seconds: float) -> bool:
        """Whether a broker says within so many seconds that the topic is there."""
        try:
            # All of them: brokers may make a topic that they are asked for.
            found = self._producer.list_topics(timeout=seconds).topics.get(topic)
        except KafkaException:
            return False
        return found is not None and found.error is None

    def mark_broken(self) -> None:
        """Have the next message sent by a new producer; called with a report of a fatal error."""
        self._broken = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Send what waits, for a while, and end."""
        left = self._producer.flush(_FLUSH_SECONDS)
        if left:
            _log.warning("%s messages were not acknowledged by Kafka at the end", left)
        self._closing = True
        self._thread.join()

    def _new(self) -> Producer:
        try:
            return Producer(dict(self._properties))
        except (KafkaException, ValueError, TypeError) as error:
            raise InvalidInput(f"Kafka: {error}", field="OCCUPANCY_KAFKA_PROPERTIES") from error

    def _renew(self) -> None:
        _log.error("the Kafka producer cannot go on and is made anew")
        self._ended.append(self._producer)
        self._producer = self._new()
        self._broken = False

    def _serve(self) -> None:
        while not self._closing:
            self._poll(self._producer, 0.1)
            self._ended = [producer for producer in self._ended if self._poll(producer, 0) or len(producer)]

    def _poll(self, producer: Producer, seconds: float) -> int:
        """Serve reports. This thread must outlive whatever the client raises here: requests wait for what it serves."""
        try:
            return producer.poll(seconds)
        except KafkaException as error:
            _log.error("Kafka: %s", error)
            self._broken = self._broken or producer is self._producer
            return 0
