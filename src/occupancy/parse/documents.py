"""JSON text as Python values, for whoever needs to know what is wrong with it."""

from __future__ import annotations

import json
import math
from typing import Any

from occupancy.errors import InvalidInput
from occupancy.parse.payload import shown

_LONGEST_NUMBER = 100
_DEEPEST = 64


def documents(body: bytes) -> list[Any]:
    """The events in a JSON body: one event, an array of them, or an object that holds the array as `events`.

    Raises InvalidInput if the body is not JSON, or `events` is not an array.
    """
    try:
        document = document_of(body)
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


def document_of(text: bytes) -> Any:
    """The value that a JSON text stands for. Raises ValueError or RecursionError where it is none, or nested deeply."""
    document = json.loads(text, parse_constant=_refuse_constant, parse_int=_whole, parse_float=_decimal)
    _require_shallow(document)
    return document


def _require_shallow(document: Any) -> None:
    # What is read here is written again, by Python and by the database, and each stops at a depth of its own.
    level = [document]
    for _ in range(_DEEPEST):
        level = [
            value
            for part in level
            if isinstance(part, dict | list)
            for value in (part.values() if isinstance(part, dict) else part)
        ]
        if not level:
            return
    raise ValueError(f"it is nested more than {_DEEPEST} deep")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _whole(digits: str) -> int | str:
    # Longer than any number here may be: it stays text, and is judged with its event instead of failing them all.
    return int(digits) if len(digits) <= _LONGEST_NUMBER else digits


def _decimal(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits
