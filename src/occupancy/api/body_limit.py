"""How much of a body is read at most, whoever reads it."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from occupancy.api.problems import answer
from occupancy.errors import TooLarge


class BodyLimit:
    """Refuses a request whose body is larger than `most` bytes: by its own word if it gives one, else as it arrives."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and answer 413 in place of the application once it is too large."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        too_large = TooLarge(f"the body is larger than {self._most} bytes: send it in parts", field="body")
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self._most:
            return await answer(too_large)(scope, receive, send)

        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                raise too_large
            return message

        async def unless_too_large(message: Message) -> None:
            # What the application makes of the error is not what the caller should read.
            if received <= self._most:
                await send(message)

        try:
            await self._app(scope, counted, unless_too_large)
        except TooLarge:
            if received <= self._most:
                raise
        if received > self._most:
            await answer(too_large)(scope, receive, send)
        return None
