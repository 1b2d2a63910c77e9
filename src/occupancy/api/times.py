"""Instants and time zones in requests and answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import Query

from occupancy.errors import InvalidInput
from occupancy.parse import parse_timestamp

# Before every event; earlier years have no place in the arithmetic of time zones.
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)

AtQuery = Annotated[
    str | None, Query(description="Instant, RFC 3339 with an offset; default: now. Up to and including it.")
]
ZoneQuery = Annotated[
    str | None, Query(description="IANA time zone of the times in the answer; default: UTC.")
]

StartQuery = Annotated[str, Query(description="From this instant on, RFC 3339 with an offset.")]
EndQuery = Annotated[
    str | None,
    Query(description="Up to but not including this instant, RFC 3339 with an offset; default: now."),
]
HoursQuery = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=500,
        # PostgreSQL refuses one of them; no hours are written with any.
        pattern=r"^[^\x00-\x1f\x7f-\x9f]+$",
        description="Only while it is open: rules of weekdays and local times like `Mon-Fri 08:00-18:00`, separated by "
        "semicolons. A time to close that is not after the one to open is on the next day.",
    ),
]


def instant(text: str | None, field: str, max_skew: timedelta) -> datetime:
    """The instant that a query parameter names, now if it is absent (aware, UTC).

    Raises InvalidInput for what is no RFC 3339 timestamp, and for the future: nobody knows who will be there.
    """
    now = datetime.now(UTC)
    if text is None:
        return now
    at = _named_instant(text, field)
    if at > now + max_skew:
        raise InvalidInput(f"{field} is in the future", field=field, value=text)
    return at


def time_range(
    start: str, end: str | None, max_skew: timedelta, names: tuple[str, str] = ("start", "end")
) -> tuple[datetime, datetime]:
    """The range [start, end) that two query parameters, called `names`, give, up to now at most (aware, UTC).

    `max_skew` is how far the clock of a device may be ahead of now. Raises InvalidInput for what is no RFC 3339
    timestamp, for a start in the future, and for an end that is not after the start.
    """
    first, last = names
    now = datetime.now(UTC)
    since = _named_instant(start, first)
    until = now if end is None else _named_instant(end, last)
    if since >= now:
        raise InvalidInput(f"{first} is in the future", field=first, value=start)
    if since >= until:
        raise InvalidInput(f"{first} is not before {last}, {until.isoformat()}", field=first, value=start)
    return since, min(until, now + max_skew)


def _named_instant(text: str, field: str) -> datetime:
    try:
        # A plus sign that was not escaped arrives as a space.
        at = parse_timestamp(text.replace(" ", "+") if text[-6:-5] == " " else text)
    except ValueError as error:
        raise InvalidInput(f"{field}: {error}", field=field, value=text) from error
    if at < _EARLIEST:
        raise InvalidInput(f"{field} is before {_EARLIEST.isoformat()}", field=field, value=text)
    return at


def zone(name: str | None) -> tzinfo:
    """The time zone of that IANA name, UTC if it is absent. Raises InvalidInput if there is none."""
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidInput(f"tz {name!r} is not an IANA time zone", field="tz", value=name) from error
