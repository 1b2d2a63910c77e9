"""How long a bucket is, in the words of a caller."""

from __future__ import annotations

import re

from occupancy.errors import InvalidInput

# Longer numbers stand for no bucket, and would overflow the arithmetic before the database can say so.
_INTERVAL = re.compile(r"([1-9][0-9]{0,3})(m|h|d|w|mo|y)", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks", "mo": "months", "y": "years"}


def sql_interval(text: str) -> str:
    """The SQL interval that a text like `15m`, `1h`, `1d`, `2w`, `1mo` or `1y` stands for.

    Raises InvalidInput for anything else. Which lengths a bucket may have is for the database to say.
    """
    match = _INTERVAL.fullmatch(text)
    if match is None:
        raise InvalidInput(
            f"interval {text!r} is not a whole number and m, h, d, w, mo or y, like 15m or 1mo",
            field="interval",
            value=text,
        )
    return f"{match[1]} {_UNITS[match[2]]}"
