"""The kinds of values that callers give for fields of the metadata, and what each may hold."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from occupancy.models import FOR_EVER, SINCE_EVER, Facing
from occupancy.parse import parse_timestamp

__all__ = [
    "Facing",
    "Id",
    "Input",
    "Instant",
    "Name",
    "Note",
    "Number",
    "TimeOfDay",
    "for_ever",
    "instant",
    "since_ever",
]

LARGEST_INTEGER = 2**31 - 1

_TIME_OF_DAY = r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$"


class Input(BaseModel):
    """What callers send: a field that is not known is an error, not a slip that nobody sees."""

    model_config = ConfigDict(extra="forbid")


def instant(value: object) -> datetime:
    """The instant in UTC that an RFC 3339 text with an offset, or a datetime with a time zone, stands for.

    Raises PydanticCustomError for anything else, and for the two instants that stand for infinity.
    """
    try:
        if isinstance(value, str):
            value = parse_timestamp(value)
        # OverflowError: year 1 at an offset that makes it year 0 in UTC
        if isinstance(value, datetime) and value.tzinfo and SINCE_EVER < value.astimezone(UTC) < FOR_EVER:
            return value.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise PydanticCustomError(
        "rfc_3339", "Input should be an RFC 3339 timestamp with an offset, like 2026-02-28T15:34:00Z"
    )


def _time_of_day(value: object) -> time:
    if isinstance(value, time) and value.tzinfo is None:
        return value
    if isinstance(value, str) and re.fullmatch(_TIME_OF_DAY, value):
        return time.fromisoformat(value)
    raise PydanticCustomError("time_of_day", "Input should be a local time of day, HH:MM or HH:MM:SS")


def _shown(value: time) -> str:
    return value.isoformat("auto" if value.second or value.microsecond else "minutes")


Id = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^/\x00-\x1f\x7f-\x9f]+$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
Note = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
Number = Annotated[int, Field(ge=0, le=LARGEST_INTEGER, strict=True)]
Instant = Annotated[datetime, BeforeValidator(instant)]
TimeOfDay = Annotated[
    time,
    BeforeValidator(_time_of_day),
    PlainSerializer(_shown),
    WithJsonSchema({"type": "string", "pattern": _TIME_OF_DAY, "examples": ["04:00"]}),
]


def since_ever(instant: datetime | None) -> datetime:
    """The first instant of a placement as one that can be compared."""
    return SINCE_EVER if instant is None else instant


def for_ever(instant: datetime | None) -> datetime:
    """The end of a placement as one that can be compared."""
    return FOR_EVER if instant is None else instant
