"""One event, looked at closely: what it says, or why it cannot be counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from occupancy.parse.payload import shown
from occupancy.parse.timestamp import parse_timestamp

LARGEST_SEQ = 2**63 - 1
LONGEST_ID = 200
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Event:
    """One crossing as a device reports it; the timestamp is aware."""

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


@dataclass(frozen=True, slots=True)
class Clock:
    """Which timestamps can be true: not long after `now`, not before `earliest` (aware datetimes)."""

    now: datetime
    max_skew: timedelta
    earliest: datetime

    @property
    def latest(self) -> datetime:
        """The last instant at which an event may have been."""
        return self.now + self.max_skew


class Unusable(Exception):
    """Why an event cannot be counted."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def judged(document: Any, clock: Clock) -> Event:
    """The event that a JSON value is, by itself or as the data of a CloudEvent. Raises Unusable."""
    if not isinstance(document, Mapping):
        raise Unusable("invalid_event", f"an event is an object, not {shown(document)}")
    if "specversion" in document:
        return _judged(_data(document), clock)
    return _judged(document, clock)


def _data(cloud_event: Mapping[str, Any]) -> Mapping[str, Any]:
    if cloud_event["specversion"] != "1.0":
        detail = f'specversion must be "1.0", not {shown(cloud_event["specversion"])}'
        raise Unusable("invalid_cloudevent", detail)
    data = cloud_event.get("data")
    if not isinstance(data, Mapping):
        raise Unusable(
            "invalid_cloudevent", f"data of a CloudEvent is the event, an object, not {shown(data)}"
        )
    return data


def _judged(document: Mapping[str, Any], clock: Clock) -> Event:
    return Event(
        dpu_id=_read(document, "dpu_id", _dpu_id),
        timestamp=_read(document, "timestamp", lambda value: _timestamp(value, clock)),
        direction=_read(document, "direction", _direction),
        seq=_seq(document.get("seq")),
    )


def _read(document: Mapping[str, Any], name: str, parse: Callable[[Any], _T]) -> _T:
    if name not in document:
        raise Unusable("missing_field", f"{name} is missing")
    return parse(document[name])


def _dpu_id(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID or not value.isprintable():
        detail = f"dpu_id must be a text of 1 to {LONGEST_ID} printable characters, not {shown(value)}"
        raise Unusable("invalid_dpu_id", detail)
    return value


def _timestamp(value: Any, clock: Clock) -> datetime:
    try:
        timestamp = parse_timestamp(value)
    except (TypeError, ValueError) as error:
        raise Unusable("invalid_timestamp", f"timestamp {shown(value)}: {error}") from error
    if timestamp > clock.latest:
        detail = f"timestamp {shown(value)} is {timestamp - clock.now} ahead of the service's clock"
        raise Unusable("future_time", detail)
    if timestamp < clock.earliest:
        raise Unusable("past_time", f"timestamp {shown(value)} is before {clock.earliest.isoformat()}")
    return timestamp


def _direction(value: Any) -> int:
    if type(value) is not int or value not in (1, -1):
        raise Unusable("invalid_direction", f"direction must be 1 or -1, not {shown(value)}")
    return value


def _seq(value: Any) -> int:
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= LARGEST_SEQ:
        raise Unusable(
            "invalid_seq", f"seq must be a whole number from 0 to {LARGEST_SEQ}, not {shown(value)}"
        )
    return value
