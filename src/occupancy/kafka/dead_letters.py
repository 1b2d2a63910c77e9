"""Copies of messages that could not be counted, for those who look at topics and not at tables."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message

from occupancy.kafka import metrics
from occupancy.kafka.batch import headers_of, offset_of, partition_of
from occupancy.kafka.producer import Headers, LogProducer
from occupancy.kafka.reading import CODE_HEADER, DETAIL_HEADER
from occupancy.parse import Rejected

_log = logging.getLogger(__name__)


class DeadLetters:
    """Sends copies after the commit, and never waits for them: rejected_event is the record, the topic a copy."""

    def __init__(self, producer: LogProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    def put(self, messages: Sequence[Message], rejected: Sequence[Rejected]) -> None:
        """Send a copy of each rejected message, as it came, with the reason and its place as headers."""
        for event in rejected:
            message = messages[event.index]
            try:
                self._producer.produce(
                    self._topic,
                    message.value(),
                    message.key(),
                    headers=_headers(message, event),
                    report=_report,
                )
            except (BufferError, KafkaException) as error:
                _failed(error)


def _headers(message: Message, event: Rejected) -> Headers:
    (given,) = headers_of([message])
    kept = [(name, value) for name, value in given or [] if not name.startswith("occupancy-")]
    return [
        *kept,
        (CODE_HEADER, event.code.encode(errors="backslashreplace")),
        (DETAIL_HEADER, event.detail.encode(errors="backslashreplace")),
        ("occupancy-topic", (message.topic() or "").encode()),
        ("occupancy-partition", str(partition_of(message)).encode()),
        ("occupancy-offset", str(offset_of(message)).encode()),
    ]


def _report(error: KafkaError | None, _message: Message) -> None:
    if error is None:
        metrics.dead_letters.labels("sent").inc()
    else:
        _failed(error)


def _failed(error: object) -> None:
    metrics.dead_letters.labels("failed").inc()
    _log.warning("a copy for the dead-letter topic was not sent: %s", error)
