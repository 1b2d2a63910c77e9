"""What the functions in SQL refuse, as errors about what the caller gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import asyncpg

from occupancy.errors import InvalidInput


@contextmanager
def naming(given: Mapping[str, Any], **renamed: str) -> Iterator[None]:
    """Raise InvalidInput, with the value in `given`, where a function in SQL refuses a field of the caller.

    The functions name the field in COLUMN; `renamed` says what it is called in this question, where that differs.
    """
    try:
        yield
    except asyncpg.InvalidParameterValueError as error:
        # What PostgreSQL refuses by itself are names of time zones that Python knows and it does not.
        field = error.column_name or "tz"
        field = renamed.get(field, field)
        if given.get(field) is None:
            raise
        raise InvalidInput(f"{field}: {error.message}", field=field, value=given[field]) from error
