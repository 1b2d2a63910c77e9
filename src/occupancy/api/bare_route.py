"""A route for a call that is made thousands of times a second."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute


class BareRoute(APIRoute):
    """Calls its endpoint with the request and nothing else: no dependency is solved, no answer checked.

    The endpoint reads parameters and body itself, and describes them for the API's description by `openapi_extra`.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint as it is."""
        return self.endpoint
