"""Which spaces a question names."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from occupancy.database import DEFAULT_ORGANIZATION
from occupancy.errors import InvalidInput
from occupancy.history.spaces import Scope, require_scope
from occupancy.reader import Reader

MOST_SPACES = 1000

SpaceIdsQuery = Annotated[
    list[str] | None, Query(description="Space ids, separated by commas or given several times.")
]


def space_ids(given: list[str]) -> list[str]:
    """The ids in a list of comma-separated ones, each once. Raises InvalidInput for none, and for too many."""
    ids = [name for text in given for name in text.split(",") if name]
    unique = list(dict.fromkeys(ids))
    for name in unique:
        if not name.isprintable():
            raise InvalidInput("an id has no control characters", field="space_id", value=name)
    if not unique:
        raise InvalidInput("space_id names no space", field="space_id", value=",".join(given))
    if len(unique) > MOST_SPACES:
        raise InvalidInput(
            f"space_id names more than {MOST_SPACES} spaces", field="space_id", value=len(unique)
        )
    return unique


async def scope_of(reader: Reader, given: list[str] | None, parent_id: str | None) -> Scope:
    """The named spaces, or a space and all below it, or all.

    Raises UnknownReference where there is no such space, InvalidInput where both are given.
    """
    if given is not None and parent_id is not None:
        raise InvalidInput("give space_id or parent_id, not both", field="parent_id", value=parent_id)
    scope = Scope(DEFAULT_ORGANIZATION, None if given is None else space_ids(given), parent_id)
    await require_scope(reader, scope)
    return scope
