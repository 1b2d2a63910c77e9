"""What messages say: events to store, and what is kept aside with its reason."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from occupancy.errors import InvalidInput
from occupancy.mqtt.message import Message
from occupancy.mqtt.topic import Topic
from occupancy.parse import Clock, Events, Parsed, Rejected, documents, parse_events, shown

# Of a message that is no event, so many bytes or characters are kept. In base64 they go through Kafka uncut. Text that
# JSON writes with more characters, such as what is not ASCII, may be cut there once more.
_MOST_KEPT = 32 * 1024


class Reader:
    """Reads the messages of one topic. `most_bytes`: a larger payload is kept aside whole."""

    def __init__(self, topic: Topic, most_bytes: int) -> None:
        self._topic = topic
        self._most_bytes = most_bytes

    def read(self, messages: Sequence[Message], clock: Clock) -> Parsed:
        """The events of all messages, each judged by itself; never raises.

        An index is the place of an event among all of them; what is refused before it is judged comes after those.
        """
        found: list[Any] = []
        refused: list[Rejected] = []
        for message in messages:
            try:
                self._read(message, found, refused)
            except _Unusable as why:
                refused.append(_kept(message, why.code, str(why)))
        parsed = parse_events(found, clock)
        if any(len(message.payload) > _MOST_KEPT for message in messages):
            parsed.rejected = [_cut(event) for event in parsed.rejected]
        parsed.rejected += [
            Rejected(len(found) + place, event.code, event.detail, event.payload)
            for place, event in enumerate(refused)
        ]
        return parsed

    def _read(self, message: Message, found: list[Any], refused: list[Rejected]) -> None:
        topic = self._checked_topic(message)
        if len(message.payload) > self._most_bytes:
            raise _Unusable(
                "message_too_large", f"{len(message.payload)} bytes are more than {self._most_bytes}"
            )
        if not message.payload:
            # This is how a retained message is deleted; subscribers see it.
            return
        dpu_id = self._topic.dpu_id(topic)
        for document in _documents(message.payload):
            named = document if dpu_id is None else _named(document, dpu_id)
            if named is None:
                detail = f"topic {shown(topic)} is not that of the dpu_id in {shown(document)}"
                refused.append(Rejected(0, "wrong_topic", detail, json.dumps(document)[:_MOST_KEPT]))
            else:
                found.append(named)

    def _checked_topic(self, message: Message) -> str:
        try:
            topic = message.topic.decode()
        except UnicodeDecodeError as error:
            raise _Unusable("wrong_topic", "the topic is not UTF-8") from error
        if not self._topic.matches(topic):
            raise _Unusable("wrong_topic", f"the bridge takes {self._topic.filter}")
        return topic


def given_up(messages: Sequence[Message], why: Exception) -> Parsed:
    """All of the messages, kept aside because they cannot be stored: the database takes none of it."""
    # It may quote what the database cannot hold.
    detail = f"{type(why).__name__}: {why}".encode(errors="backslashreplace").decode()
    return Parsed(
        rejected=[_kept(message, "unstorable", detail, place) for place, message in enumerate(messages)]
    )


def portions(parsed: Parsed, most: int) -> Iterator[Parsed]:
    """The same in parts of at most `most` events, and so many rejected ones; at least one part."""
    for start in range(0, max(len(parsed.events), len(parsed.rejected), 1), most):
        part = slice(start, start + most)
        yield Parsed(_part(parsed.events, part), parsed.rejected[part])


def _part(events: Events, part: slice) -> Events:
    return Events(
        indexes=events.indexes[part],
        dpu_ids=events.dpu_ids[part],
        times=events.times[part],
        directions=events.directions[part],
        seqs=events.seqs[part],
    )


class _Unusable(Exception):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def _documents(payload: bytes) -> list[Any]:
    try:
        payload.decode()
        return documents(payload)
    except UnicodeDecodeError as error:
        raise _Unusable("invalid_json", f"the payload is not UTF-8: {error}") from error
    except InvalidInput as error:
        raise _Unusable("invalid_json", error.detail) from error


def _named(document: Any, dpu_id: str) -> Any:
    """The event with the dpu_id of its topic, where it has none; None where it has another."""
    event = document
    is_cloud_event = isinstance(document, Mapping) and "specversion" in document
    if is_cloud_event:
        event = document.get("data")
    if not isinstance(event, dict):
        return document
    if "dpu_id" in event:
        return None if isinstance(event["dpu_id"], str) and event["dpu_id"] != dpu_id else document
    named = {"dpu_id": dpu_id, **event}
    return {**document, "data": named} if is_cloud_event else named


def _cut(event: Rejected) -> Rejected:
    """The same, of a payload that is no event and huge only its beginning, as text."""
    text = json.dumps(event.payload)
    if len(text) <= _MOST_KEPT:
        return event
    detail = f"{event.detail}; only the first {_MOST_KEPT} are kept"
    return Rejected(event.index, event.code, detail, text[:_MOST_KEPT])


def _kept(message: Message, code: str, detail: str, index: int = 0) -> Rejected:
    """A whole message, as text or else in base64 as a data URL: neither is an event that a replay would take."""
    try:
        kept = message.payload.decode()[:_MOST_KEPT]
    except UnicodeDecodeError:
        kept = (
            "data:application/octet-stream;base64," + base64.b64encode(message.payload[:_MOST_KEPT]).decode()
        )
    if len(message.payload) > _MOST_KEPT:
        detail += f"; only the first {_MOST_KEPT} are kept"
    topic = shown(message.topic.decode(errors="backslashreplace"))
    return Rejected(index, code, f"message on topic {topic}: {detail}", kept)
