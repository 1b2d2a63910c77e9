"""Which topic of a name it is: one that is deleted and made anew has another id."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from confluent_kafka import KafkaException, TopicCollection, Uuid
from confluent_kafka.admin import AdminClient

_log = logging.getLogger(__name__)

_ASK_SECONDS = 10.0
# What brokers answer that have no ids.
_NONE = str(Uuid(0, 0))


async def topic_id(properties: dict[str, Any], topic: str) -> str | None:
    """The id that the brokers have given the topic; None where they do not say, now or ever."""
    try:
        found = await asyncio.to_thread(_ask, properties, topic)
    except KafkaException as error:
        _log.info("the brokers do not say which topic %s is: %s", topic, error.args[0].str())
        return None
    return None if found == _NONE else found


def _ask(properties: dict[str, Any], topic: str) -> str:
    # A client of its own, for the time of the question: that of the consumer cannot ask.
    client = AdminClient(properties)
    asked = client.describe_topics(TopicCollection([topic]), request_timeout=_ASK_SECONDS)
    return str(asked[topic].result().topic_id)
