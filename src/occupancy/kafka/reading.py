"""From messages of a topic to events, or reasons why not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Message

from occupancy.parse import Clock, Parsed, Rejected, parse_messages

# Sent along with what was rejected before it came into the topic: it is kept for that reason, not judged again at
# another time.
CODE_HEADER = "occupancy-rejected"
DETAIL_HEADER = "occupancy-detail"
# Of a message that is too large, the beginning is kept.
_KEPT_BYTES = 8 * 1024


def read(messages: Sequence[Message], clock: Clock, largest: int) -> Parsed:
    """Judge each message by itself; indexes are places in `messages`. `largest`: bytes of a payload. Never raises."""
    payloads: list[bytes] = []
    places: list[int] = []
    rejected: list[Rejected] = []
    for place, message in enumerate(messages):
        payload = message.value()
        refused = _refused(place, message, payload, largest)
        if refused is not None:
            rejected.append(refused)
        else:
            places.append(place)
            payloads.append(payload)  # type: ignore[arg-type]
    parsed = parse_messages(payloads, clock)
    if rejected:
        parsed.events.indexes = [places[index] for index in parsed.events.indexes]
        judged = [Rejected(places[r.index], r.code, r.detail, r.payload) for r in parsed.rejected]
        parsed.rejected = sorted([*rejected, *judged], key=lambda event: event.index)
    return parsed


def kept_payload(payload: bytes | None) -> Any:
    """What of a message's payload can be kept beside a reason: its JSON, or else its text, cut."""
    if payload is None:
        return None
    if len(payload) <= _KEPT_BYTES:
        try:
            return json.loads(payload)
        except (ValueError, RecursionError):
            pass
    return payload[:_KEPT_BYTES].decode(errors="backslashreplace")


def _refused(place: int, message: Message, payload: bytes | None, largest: int) -> Rejected | None:
    if payload is None:
        key = message.key()
        shown = None if key is None else key[:_KEPT_BYTES].decode(errors="backslashreplace")
        return Rejected(
            place, "empty_message", "the message has no payload (a tombstone)", {"key": shown, "value": None}
        )
    if len(payload) > largest:
        detail = f"the message has {len(payload)} bytes, more than {largest}: it is kept in part"
        return Rejected(place, "message_too_large", detail, kept_payload(payload))
    headers = message.headers()
    return _rejected_before(place, headers, payload) if headers else None


def _rejected_before(place: int, headers: Any, payload: bytes) -> Rejected | None:
    given = {name: value for name, value in headers if name in {CODE_HEADER, DETAIL_HEADER}}
    if CODE_HEADER not in given:
        return None
    code, detail = (
        (given.get(name) or b"").decode(errors="backslashreplace") for name in (CODE_HEADER, DETAIL_HEADER)
    )
    return Rejected(place, code, detail, kept_payload(payload))
