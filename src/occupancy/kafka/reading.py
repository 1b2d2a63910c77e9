"""From messages of a topic to events, or reasons why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confluent_kafka import Message

from occupancy.kafka.batch import headers_of
from occupancy.parse import Clock, Parsed, Rejected, parse_messages, shown
from occupancy.parse.documents import document_of

# Sent along with what was rejected before it came into the topic: it is kept for that reason, not judged again at
# another time.
CODE_HEADER = "occupancy-rejected"
DETAIL_HEADER = "occupancy-detail"
# The codes that are given before an event comes into the topic; and those that workers give, for a dead letter that is
# copied back. Anybody who may write to the topic can send any text.
GIVEN_BEFORE = frozenset(
    {
        "conflict",
        "empty_message",
        "future_time",
        "invalid_cloudevent",
        "invalid_direction",
        "invalid_dpu_id",
        "invalid_event",
        "invalid_json",
        "invalid_seq",
        "invalid_timestamp",
        "message_too_large",
        "missing_field",
        "past_retention",
        "past_time",
        "unknown_dpu",
        "unstorable",
        "wrong_topic",
    }
)
_OTHER_CODE = "rejected_before"
# Of a payload that was rejected before, the sink sends so many characters (of JSON) at most, as a text in JSON.
LONGEST_SENT = 64 * 1024
_LARGEST_SENT = 2 * LONGEST_SENT + 2
LONGEST_DETAIL = 1000
# Of a message that is too large, the beginning is kept.
_KEPT_BYTES = 8 * 1024


def read(messages: Sequence[Message], clock: Clock, largest: int) -> Parsed:
    """Judge each message by itself; indexes are places in `messages`. `largest`: bytes of a payload. Never raises."""
    payloads = [message.value() for message in messages]
    headers = headers_of(messages)
    # Nearly always: one look at each column, instead of one at each message.
    if None not in payloads and not any(headers) and max(map(len, payloads), default=0) <= largest:  # type: ignore[arg-type]
        return parse_messages(payloads, clock)  # type: ignore[arg-type]
    good: list[bytes] = []
    places: list[int] = []
    rejected: list[Rejected] = []
    for place, (message, payload, given) in enumerate(zip(messages, payloads, headers, strict=True)):
        if payload is None:
            rejected.append(_empty(place, message))
        elif (refused := _refused(place, payload, given, largest)) is not None:
            rejected.append(refused)
        else:
            places.append(place)
            good.append(payload)
    parsed = parse_messages(good, clock)
    parsed.events.indexes = [places[index] for index in parsed.events.indexes]
    judged = [Rejected(places[r.index], r.code, r.detail, r.payload) for r in parsed.rejected]
    parsed.rejected = sorted([*rejected, *judged], key=lambda event: event.index)
    return parsed


def kept_payload(payload: bytes | None, most: int = _KEPT_BYTES) -> Any:
    """What of a message's payload can be kept beside a reason: its JSON, or else its text, cut.

    `most`: bytes that JSON may have to be kept whole.
    """
    if payload is None:
        return None
    if len(payload) <= most:
        try:
            return document_of(payload)
        except (ValueError, RecursionError):
            # nor would the database take it as JSON
            pass
    return _beginning(payload, _KEPT_BYTES)


def _empty(place: int, message: Message) -> Rejected:
    key = message.key()
    kept = {"key": None if key is None else _beginning(key, _KEPT_BYTES), "value": None}
    return Rejected(place, "empty_message", "the message has no payload (a tombstone)", kept)


def _refused(place: int, payload: bytes, headers: Any, largest: int) -> Rejected | None:
    # First: whoever sent it was told this reason, however large it is.
    if headers and (rejected := _rejected_before(place, headers, payload)) is not None:
        return rejected
    if len(payload) > largest:
        detail = f"the message has {len(payload)} bytes, more than {largest}: it is kept in part"
        return Rejected(place, "message_too_large", detail, kept_payload(payload))
    return None


def _rejected_before(place: int, headers: Any, payload: bytes) -> Rejected | None:
    given = {name: value for name, value in headers if name in {CODE_HEADER, DETAIL_HEADER}}
    if CODE_HEADER not in given:
        return None
    code, detail = (
        _beginning(given.get(name) or b"", LONGEST_DETAIL) for name in (CODE_HEADER, DETAIL_HEADER)
    )
    if code not in GIVEN_BEFORE:
        code, detail = _OTHER_CODE, f"the reason given is {shown(code)}: {detail}"
    return Rejected(place, code, detail, kept_payload(payload, _LARGEST_SENT))


def _beginning(text: bytes, most: int) -> str:
    return text[:most].decode(errors="backslashreplace")
