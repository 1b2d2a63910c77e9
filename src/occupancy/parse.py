"""From what a device or a file sent to events that can be stored, or a reason why not.

One bad event never loses the good ones beside it: each is judged by itself, and what is rejected keeps its payload.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from occupancy.errors import InvalidInput

# RFC 3339: an offset is required, since a local time of day does not say when.
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_LARGEST_SEQ = 2**63 - 1
_LONGEST_ID = 200
_SHOWN = 80
_LONGEST_NUMBER = 100
# Marks a payload that is kept as the text of its JSON.
WRAPPED = "occupancy:json"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Event:
    """One crossing as a device reports it; `index` is its place in the request, from 0."""

    index: int
    dpu_id: str
    timestamp: datetime
    direction: int
    seq: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """An event that is kept aside: why, in a stable code and in words, and what was sent."""

    index: int
    code: str
    detail: str
    payload: Any


@dataclass(slots=True)
class Parsed:
    """The events of one request: those to store, and those to keep aside."""

    events: list[Event] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Clock:
    """Which timestamps can be true: not long after `now`, not before `earliest` (aware datetimes)."""

    now: datetime
    max_skew: timedelta
    earliest: datetime


class _Unusable(Exception):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def parse_timestamp(text: str) -> datetime:
    """An RFC 3339 timestamp as an aware datetime in UTC, cut to microseconds.

    Raises ValueError where it is none, has no offset, or names a day or time that does not exist.
    """
    if not _RFC3339.fullmatch(text):
        raise ValueError("not an RFC 3339 timestamp with an offset, like 2026-02-28T15:34:00Z")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("out of range") from error


def documents(body: bytes) -> list[Any]:
    """The events in a JSON body: one event, an array of them, or an object that holds the array as `events`.

    Raises InvalidInput if the body is not JSON, or `events` is not an array.
    """
    try:
        document = json.loads(body, parse_constant=_refuse_constant, parse_int=_whole, parse_float=_decimal)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON: {error}", field="body") from error
    if isinstance(document, list):
        return document
    if isinstance(document, dict) and "events" in document:
        events = document["events"]
        if not isinstance(events, list):
            raise InvalidInput("events must be an array", field="events", value=shown(events))
        return events
    return [document]


def parse_events(documents: Iterable[Any], clock: Clock) -> Parsed:
    """Judge each document by itself. Order and index are kept."""
    parsed = Parsed()
    for index, document in enumerate(documents):
        try:
            parsed.events.append(_event(index, document, clock))
        except _Unusable as why:
            parsed.rejected.append(Rejected(index, why.code, why.detail, document))
    return parsed


def payload_json(payload: Any) -> str:
    """The payload as JSON that PostgreSQL's jsonb can hold, whatever text was sent; `sent_payload` is the inverse.

    jsonb has no NUL character and no half surrogate pair; such a payload is kept as the text of its JSON. So is one
    that looks as if it were kept so.
    """
    text = json.dumps(payload)
    if "\\u0000" in text or re.search(r"\\ud[89a-f]", text) or _is_wrapped(payload):
        return json.dumps({WRAPPED: text})
    return text


def sent_payload(text: str) -> Any:
    """What was sent, from what `payload_json` made of it."""
    payload = json.loads(text)
    return json.loads(payload[WRAPPED]) if _is_wrapped(payload) else payload


def _is_wrapped(payload: Any) -> bool:
    return isinstance(payload, dict) and list(payload) == [WRAPPED]


def shown(value: Any) -> str:
    """A value for an error message: as JSON, cut to a readable length."""
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _whole(digits: str) -> int | str:
    # Longer than any number here may be: it stays text, and is judged with its event instead of failing them all.
    return int(digits) if len(digits) <= _LONGEST_NUMBER else digits


def _decimal(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _event(index: int, document: Any, clock: Clock) -> Event:
    if not isinstance(document, Mapping):
        raise _Unusable("invalid_event", f"an event is an object, not {shown(document)}")
    return Event(
        index=index,
        dpu_id=_read(document, "dpu_id", _dpu_id),
        timestamp=_read(document, "timestamp", lambda value: _timestamp(value, clock)),
        direction=_read(document, "direction", _direction),
        seq=_seq(document.get("seq")),
    )


def _read(document: Mapping[str, Any], name: str, parse: Callable[[Any], _T]) -> _T:
    if name not in document:
        raise _Unusable("missing_field", f"{name} is missing")
    return parse(document[name])


def _dpu_id(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_ID or not value.isprintable():
        detail = f"dpu_id must be a text of 1 to {_LONGEST_ID} printable characters, not {shown(value)}"
        raise _Unusable("invalid_dpu_id", detail)
    return value


def _timestamp(value: Any, clock: Clock) -> datetime:
    try:
        timestamp = parse_timestamp(value)
    except (TypeError, ValueError) as error:
        raise _Unusable("invalid_timestamp", f"timestamp {shown(value)}: {error}") from error
    if timestamp > clock.now + clock.max_skew:
        detail = f"timestamp {shown(value)} is {timestamp - clock.now} ahead of the service's clock"
        raise _Unusable("future_time", detail)
    if timestamp < clock.earliest:
        raise _Unusable("past_time", f"timestamp {shown(value)} is before {clock.earliest.isoformat()}")
    return timestamp


def _direction(value: Any) -> int:
    if type(value) is not int or value not in (1, -1):
        raise _Unusable("invalid_direction", f"direction must be 1 or -1, not {shown(value)}")
    return value


def _seq(value: Any) -> int:
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= _LARGEST_SEQ:
        raise _Unusable(
            "invalid_seq", f"seq must be a whole number from 0 to {_LARGEST_SEQ}, not {shown(value)}"
        )
    return value
