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


def instant(text: str | None, field: str, max_skew: timedelta) -> datetime:
    """The instant that a query parameter names, now if it is absent (aware, UTC).

    Raises InvalidInput for what is no RFC 3339 timestamp, and for the future: nobody knows who will be there.
    """
    now = datetime.now(UTC)
    if text is None:
        return now
    try:
        # A plus sign that was not escaped arrives as a space.
        at = parse_timestamp(text.replace(" ", "+") if text[-6:-5] == " " else text)
    except ValueError as error:
        raise InvalidInput(f"{field}: {error}", field=field, value=text) from error
    if at < _EARLIEST:
        raise InvalidInput(f"{field} is before {_EARLIEST.isoformat()}", field=field, value=text)
    if at > now + max_skew:
        raise InvalidInput(f"{field} is in the future", field=field, value=text)
    return at


def zone(name: str | None) -> tzinfo:
    """The time zone of that IANA name, UTC if it is absent. Raises InvalidInput if there is none."""
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidInput(f"tz {name!r} is not an IANA time zone", field="tz", value=name) from error
