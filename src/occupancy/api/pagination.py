"""Lists in pages. A page begins behind the last key of the one before: rows added meanwhile shift nothing."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from occupancy.errors import InvalidInput

Item = TypeVar("Item")

# Long enough for 200 characters of four bytes each.
_LONGEST_CURSOR = 1200
# PostgreSQL refuses one of them; no key holds any.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

LimitQuery = Annotated[int, Query(ge=1, le=1000, description="Most items in the answer.")]
CursorQuery = Annotated[
    str | None,
    Query(max_length=_LONGEST_CURSOR, description="`next` of the page before; none: from the start."),
]


class Page(BaseModel, Generic[Item]):
    """A part of a list."""

    items: list[Item] = Field(description="The items of this page, in order.")
    next: str | None = Field(description="The cursor of the next page; null on the last one.")


def encode_cursor(key: str) -> str:
    """The opaque cursor of the page behind the item with this key."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """The key in a cursor; raises InvalidInput for what encode_cursor cannot have made."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        key = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error) as error:
        raise _no_cursor(cursor) from error
    if not key or _CONTROL.search(key) or encode_cursor(key) != cursor:
        raise _no_cursor(cursor)
    return key


def cursor_of_another_list(cursor: str) -> InvalidInput:
    """The error that a cursor is whose key does not fit."""
    return InvalidInput("cursor belongs to another list", field="cursor", value=cursor)


def page(found: Sequence[Item], limit: int, key: Callable[[Item], str]) -> Page[Item]:
    """The first `limit` of what was found; there is another page if more than that was found."""
    items = list(found[:limit])
    return Page(items=items, next=encode_cursor(key(items[-1])) if len(found) > limit else None)


def _no_cursor(cursor: str) -> InvalidInput:
    return InvalidInput("cursor is not the `next` of an answer of this service", field="cursor", value=cursor)
