"""What librdkafka is told."""

from __future__ import annotations

import json
import logging
from typing import Any

from occupancy.errors import InvalidInput
from occupancy.settings import Settings

_log = logging.getLogger("occupancy.kafka")

_CONSUMER = {
    "client.id": "occupancy",
    # A rebalance stops only the partitions that move.
    "partition.assignment.strategy": "cooperative-sticky",
    "allow.auto.create.topics": False,
    # Memory of messages that are fetched but not asked for yet.
    "queued.max.messages.kbytes": 32 * 1024,
    "queued.min.messages": 20_000,
}
_PRODUCER = {
    "client.id": "occupancy",
    "linger.ms": 5,
    "compression.type": "lz4",
}
# What "once" rests on, and what has a setting of its own.
_OURS = {
    "bootstrap.servers": "set OCCUPANCY_KAFKA_BOOTSTRAP_SERVERS",
    "metadata.broker.list": "set OCCUPANCY_KAFKA_BOOTSTRAP_SERVERS",
    "group.id": "set OCCUPANCY_KAFKA_GROUP",
    "enable.auto.commit": "offsets are kept in the database",
    "auto.commit.enable": "offsets are kept in the database",
    "enable.auto.offset.store": "offsets are kept in the database",
    "auto.offset.reset": "set OCCUPANCY_KAFKA_START",
    "enable.idempotence": "events are always sent so",
    "acks": "events are always sent with acks=all",
    "request.required.acks": "events are always sent with acks=all",
    "message.timeout.ms": "set OCCUPANCY_KAFKA_SEND_TIMEOUT",
    "delivery.timeout.ms": "set OCCUPANCY_KAFKA_SEND_TIMEOUT",
    "queue.buffering.max.messages": "set OCCUPANCY_KAFKA_QUEUE_SIZE",
    "transactional.id": "events are not sent in Kafka's transactions",
    "group.protocol": "only the classic protocol is supported",
}


def consumer_properties(settings: Settings) -> dict[str, Any]:
    """For a worker of the group. Raises InvalidInput where a setting is missing or cannot be."""
    return {
        **_CONSUMER,
        **_given(settings),
        "bootstrap.servers": bootstrap_servers(settings),
        "group.id": settings.kafka_group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # A position that the brokers do not have must not silently become another one.
        "auto.offset.reset": "error",
        "logger": _log,
    }


def asking_properties(settings: Settings) -> dict[str, Any]:
    """For whoever only asks the brokers something."""
    return {
        # It would say of each property of the others that it has no use for it.
        "log_level": 3,
        **_given(settings),
        "client.id": "occupancy",
        "bootstrap.servers": bootstrap_servers(settings),
        "logger": _log,
    }


def producer_properties(settings: Settings) -> dict[str, Any]:
    """For whoever sends events. Raises InvalidInput where a setting is missing or cannot be."""
    return {
        **_PRODUCER,
        **_given(settings),
        "bootstrap.servers": bootstrap_servers(settings),
        "enable.idempotence": True,
        "acks": "all",
        "message.timeout.ms": max(1, int(settings.kafka_send_timeout.total_seconds() * 1000)),
        "queue.buffering.max.messages": settings.kafka_queue_size,
        "logger": _log,
    }


def bootstrap_servers(settings: Settings) -> str:
    """The brokers to ask first. Raises InvalidInput where none are set."""
    if settings.kafka_bootstrap_servers is None:
        raise InvalidInput(
            "no Kafka: set OCCUPANCY_KAFKA_BOOTSTRAP_SERVERS", field="OCCUPANCY_KAFKA_BOOTSTRAP_SERVERS"
        )
    return settings.kafka_bootstrap_servers


def is_cooperative(properties: dict[str, Any]) -> bool:
    """Whether partitions are given and taken one by one, or all at each rebalance."""
    return "cooperative" in str(properties["partition.assignment.strategy"])


def _given(settings: Settings) -> dict[str, Any]:
    """The user's own. Their values may be secrets: no error quotes one."""
    given: dict[str, Any] = {}
    if settings.kafka_properties_file is not None:
        field = "OCCUPANCY_KAFKA_PROPERTIES_FILE"
        try:
            text = settings.kafka_properties_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{field}: cannot be read: {error}", field=field) from error
        given |= _object(text, field)
    if settings.kafka_properties is not None:
        given |= _object(settings.kafka_properties.get_secret_value(), "OCCUPANCY_KAFKA_PROPERTIES")
    return given


def _object(text: str, field: str) -> dict[str, Any]:
    try:
        properties = json.loads(text)
    except ValueError:
        # without the cause: it holds the text
        raise InvalidInput(f"{field}: not JSON", field=field) from None
    if not isinstance(properties, dict):
        raise InvalidInput(f"{field}: must be a JSON object of properties", field=field)
    for name, value in properties.items():
        if name in _OURS:
            raise InvalidInput(f"{field}: {name} cannot be given: {_OURS[name]}", field=field, value=name)
        if not isinstance(value, str | int | float | bool):
            raise InvalidInput(f"{field}: {name} must be a text, a number, true or false", field=field)
    return properties
