"""Instants as text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec

# RFC 3339: an offset is required, since a local time of day does not say when.
Instant = Annotated[datetime, msgspec.Meta(tz=True)]


def parse_timestamp(text: str) -> datetime:
    """An RFC 3339 timestamp as an aware datetime in UTC, rounded to microseconds.

    Raises TypeError for what is no text, ValueError where it is no timestamp, has no offset, or names a day or time
    that does not exist.
    """
    if not isinstance(text, str):
        raise TypeError("not a text")
    try:
        return msgspec.convert(text, Instant).astimezone(UTC)
    except msgspec.ValidationError as error:
        raise ValueError("not an RFC 3339 timestamp with an offset, like 2026-02-28T15:34:00Z") from error
    except OverflowError as error:
        raise ValueError("out of range") from error
