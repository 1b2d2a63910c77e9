"""No parameter of a query is overlooked: a misspelt one would give an answer to another question."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from occupancy.errors import InvalidInput


def only_known_parameters(request: Request) -> None:
    """Raise InvalidInput for a parameter of the query that the route does not have."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    known = set(_parameters(route.dependant))
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise InvalidInput(
                f"there is no parameter {name!r} here; there are: {', '.join(sorted(known)) or 'none'}",
                field=name,
                value=value,
            )


def _parameters(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.alias for parameter in dependant.query_params)
    for below in dependant.dependencies:
        yield from _parameters(below)
