"""A way around the router for the one call that is made thousands of times a second."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from occupancy.api.problems import answer, unexpected
from occupancy.errors import OccupancyError


class HotPath:
    """Calls an endpoint for one method and path by itself; finding it among all routes takes longer than its work.

    The route stays among the others, where it is described; the endpoint takes the request and nothing else.
    """

    def __init__(
        self, app: ASGIApp, method: str, path: str, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> None:
        self._app = app
        self._method = method
        self._path = path
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer requests for the endpoint, pass on all others."""
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != self._method:
            return await self._app(scope, receive, send)
        request = Request(scope, receive)
        try:
            response = await self._endpoint(request)
        except OccupancyError as error:
            response = answer(error)
        except ClientDisconnect:
            return None
        except Exception as error:
            response = await unexpected(request, error)
        return await response(scope, receive, send)
