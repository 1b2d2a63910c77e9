"""How long a DPU has been silent, in the words of a caller."""

from __future__ import annotations

import re
from datetime import timedelta

from occupancy.errors import InvalidInput

LONGEST_SILENCE = timedelta(days=31)

_DURATION = re.compile(r"([1-9][0-9]{0,4})(m|h|d)", re.ASCII)
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def duration(text: str) -> timedelta:
    """What a text like `15m`, `2h` or `1d` stands for. Raises InvalidInput for anything else, and for too long."""
    match = _DURATION.fullmatch(text)
    found = None if match is None else int(match[1]) * _UNITS[match[2]]
    if found is None or found > LONGEST_SILENCE:
        raise InvalidInput(
            f"silent_for {text!r} is not a whole number and m, h or d, like 15m, up to {LONGEST_SILENCE.days}d",
            field="silent_for",
            value=text,
        )
    return found
