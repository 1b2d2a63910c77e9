"""Who may come in: looked at before the body of a request is read."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from occupancy.api.problems import answer
from occupancy.errors import Forbidden, OccupancyError, Unauthorized
from occupancy.settings import Settings

# Liveness, readiness, and the description of the API: nothing that is stored.
_OPEN = {"/healthz", "/readyz", "/docs", "/redoc", "/openapi.json"}
_LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}


class Gate:
    """Lets a request through that has the key; where none is set, one that comes from this machine by its own name."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._key = None if settings.api_key is None else settings.api_key.get_secret_value().encode()
        self._names = _LOOPBACK_NAMES | {settings.host}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the application what may not reach it."""
        if scope["type"] == "http" and scope["path"] not in _OPEN:
            try:
                self._check(Headers(scope=scope))
            except OccupancyError as error:
                return await answer(error)(scope, receive, send)
        return await self._app(scope, receive, send)

    def _check(self, headers: Headers) -> None:
        if self._key is not None:
            self._check_key(headers.get("authorization", ""))
            return
        # Without a key, a web page in a browser on this machine must not speak for its user: not under a name of its
        # own that leads here, and not as a page from elsewhere.
        host = urlsplit(f"//{headers.get('host', '')}").hostname
        if host not in self._names:
            raise Forbidden(
                "without an API key, only names of this machine are answered", field="Host", value=host
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).hostname not in self._names:
            raise Forbidden("without an API key, no other site may ask", field="Origin", value=origin)
        if headers.get("sec-fetch-site") == "cross-site":
            raise Forbidden(
                "without an API key, no other site may ask", field="Sec-Fetch-Site", value="cross-site"
            )

    def _check_key(self, authorization: str) -> None:
        scheme, _, given = authorization.partition(" ")
        key = self._key or b""
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(errors="replace"), key):
            raise Unauthorized(
                "send the service's key as `Authorization: Bearer <key>`", field="Authorization"
            )
