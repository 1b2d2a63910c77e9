"""Events of HTTP callers into a topic."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message
from prometheus_client import Counter

from occupancy.database import Ingested
from occupancy.errors import BrokerUnavailable, Overloaded
from occupancy.kafka.producer import Headers, LogProducer
from occupancy.kafka.properties import producer_properties
from occupancy.kafka.reading import CODE_HEADER, DETAIL_HEADER, LONGEST_DETAIL, LONGEST_SENT
from occupancy.parse import LONGEST_ID, Events, Parsed, Rejected
from occupancy.settings import Settings

_produced = Counter("occupancy_kafka_produced_events", "Events sent to the topic, by outcome.", ["outcome"])
_encode = msgspec.json.Encoder().encode
_Record = tuple[bytes, bytes | None, Headers | None]

# Its default in librdkafka and, nearly, in Kafka.
_MESSAGE_BYTES = 1_000_000
# The client itself gives a message up after the timeout.
_GRACE_SECONDS = 10.0
# Within which a broker has to say that it knows the topic.
_LOOK_SECONDS = 2.0


class KafkaSink:
    """A Sink: answers when the brokers have acknowledged every event of a request, in all their replicas in sync.

    Which events are duplicates, and which DPUs are unknown, is found when a worker stores them.
    """

    def __init__(self, settings: Settings) -> None:
        properties = producer_properties(settings)
        self._producer = LogProducer(properties)
        # Two bytes for a character, and as much for all the rest.
        self._longest = min(LONGEST_SENT, int(properties.get("message.max.bytes", _MESSAGE_BYTES)) // 4)
        self._topic = settings.kafka_topic
        self._most = settings.kafka_queue_size
        self._patience = settings.kafka_send_timeout.total_seconds() + _GRACE_SECONDS
        self._waiting = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.__aexit__(kind, error, trace)

    @property
    def waiting(self) -> int:
        """How many events the brokers have not acknowledged yet."""
        return self._waiting

    async def is_reachable(self) -> bool:
        """Whether brokers answer now, and know the topic."""
        return await asyncio.to_thread(self._producer.knows, self._topic, _LOOK_SECONDS)

    def require_room(self, events: int = 1) -> None:
        """Raise Overloaded where so many more would be too many."""
        if self._waiting + events > self._most:
            raise Overloaded(f"{self._waiting} events wait for Kafka already: send it again later")

    async def put(self, organization: int, parsed: Parsed) -> Ingested:  # noqa: ARG002 -- one topic, one organization
        """Send events keyed by DPU, and rejected ones with their reason, for the worker to keep.

        `accepted` of the answer are those that are in the topic. Raises Overloaded where too many wait for the brokers,
        and BrokerUnavailable where the brokers did not acknowledge all in time: some may be in the topic then, and are
        duplicates when they are sent again.
        """
        size = len(parsed)
        if size == 0:
            return Ingested()
        self.require_room(size)
        delivery = _Delivery(asyncio.get_running_loop(), self._producer, size)
        self._waiting += size
        try:
            self._send(parsed, delivery)
            async with asyncio.timeout(self._patience):
                await delivery.done
        except TimeoutError as error:
            # The client gives every message up in time; if it does not, whoever waits must not wait for ever.
            self._producer.mark_broken()
            raise BrokerUnavailable(f"Kafka did not acknowledge {size} events in time") from error
        finally:
            self._waiting -= size
        _produced.labels("failed").inc(delivery.failed)
        _produced.labels("sent").inc(size - delivery.failed)
        if delivery.error is not None:
            raise BrokerUnavailable(
                f"Kafka did not acknowledge {delivery.failed} of {size} events: {delivery.error.str()}"
            )
        return Ingested(accepted=len(parsed.events), rejected=parsed.rejected)

    def _send(self, parsed: Parsed, delivery: _Delivery) -> None:
        try:
            for value, key, headers in _records(parsed, self._longest):
                self._producer.produce(self._topic, value, key, headers=headers, report=delivery.report)
        except BufferError as error:
            raise Overloaded("too many bytes wait for Kafka: send the events later") from error
        except KafkaException as error:
            raise BrokerUnavailable(f"Kafka refuses events: {error.args[0].str()}") from error


class _Delivery:
    """Counts the reports of one request."""

    def __init__(self, loop: asyncio.AbstractEventLoop, producer: LogProducer, size: int) -> None:
        self._loop = loop
        self._producer = producer
        self._left = size
        self.done: asyncio.Future[None] = loop.create_future()
        self.error: KafkaError | None = None
        self.failed = 0

    def report(self, error: KafkaError | None, _message: Message) -> None:
        """Called in the producer's one thread."""
        if error is not None:
            self.error = error
            self.failed += 1
            if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001 -- its public name begins so
                self._producer.mark_broken()
        self._left -= 1
        if self._left == 0 and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


def _records(parsed: Parsed, longest: int) -> Iterator[_Record]:
    yield from _events(parsed.events)
    for event in parsed.rejected:
        yield _rejected(event, longest)


def _events(events: Events) -> Iterator[_Record]:
    for dpu_id, time, direction, seq in zip(
        events.dpu_ids, events.times, events.directions, events.seqs, strict=True
    ):
        value = _encode({"dpu_id": dpu_id, "timestamp": time, "direction": direction, "seq": seq})
        # one DPU, one partition: its events stay in order
        yield value, dpu_id.encode(), None


def _rejected(event: Rejected, longest: int) -> _Record:
    headers: Headers = [
        (CODE_HEADER, event.code.encode()),
        (DETAIL_HEADER, _text(event.detail[:LONGEST_DETAIL])),
    ]
    text = json.dumps(event.payload)
    if len(text) > longest:
        # A message that no broker takes would have the whole request fail, at each repetition.
        text = json.dumps(text[:longest])
    return text.encode(), _key(event.payload), headers


def _key(payload: Any) -> bytes | None:
    dpu_id = payload.get("dpu_id") if isinstance(payload, dict) else None
    return _text(dpu_id[:LONGEST_ID]) if isinstance(dpu_id, str) else None


def _text(text: str) -> bytes:
    return text.encode(errors="backslashreplace")
