"""How much of a body is read at most, and how much of all bodies is held at once, whoever reads them."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from occupancy.api.problems import answer
from occupancy.errors import OccupancyError, Overloaded, TooLarge, TooSlow


class BodyLimit:
    """Refuses a request whose body is larger than `most` bytes: by its own word if it gives one, else as it arrives.

    Also one with which the bodies of all requests that are not answered yet would be larger than `most_together`.
    """

    def __init__(self, app: ASGIApp, most: int, most_together: int, patience: float = 20) -> None:
        self._app = app
        self._most = most
        self._most_together = most_together
        # in seconds; a link that died in the middle of a body would hold it for ever
        self._patience = patience
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and answer 408, 413 or 429 in place of the application once it is too large."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        body = _Body(self)
        declared = Headers(scope=scope).get("content-length", "")
        try:
            # What is announced may never come: only what is there is held.
            self.require_room(int(declared) if declared.isdecimal() else 0, 0)
        except OccupancyError as error:
            return await answer(error)(scope, receive, send)
        try:
            await self._pass_on(body, scope, receive, send)
        finally:
            self._held -= body.held
        return None

    async def _pass_on(self, body: _Body, scope: Scope, receive: Receive, send: Send) -> None:
        received = 0
        is_whole = False
        refused: OccupancyError | None = None

        async def counted() -> Message:
            nonlocal received, refused, is_whole
            try:
                message = await self._receive(receive, is_whole=is_whole)
                received += len(message.get("body", b""))
                body.grow(received)
            except OccupancyError as error:
                refused = error
                raise
            is_whole = not message.get("more_body", False)
            return message

        async def unless_refused(message: Message) -> None:
            # What the application makes of the error is not what the caller should read.
            if refused is None:
                await send(message)

        try:
            await self._app(scope, counted, unless_refused)
        except OccupancyError:
            if refused is None:
                raise
        if refused is not None:
            await answer(refused)(scope, receive, send)

    async def _receive(self, receive: Receive, *, is_whole: bool) -> Message:
        if is_whole:
            # Now it is only about the caller, who may wait for the answer for as long as it takes.
            return await receive()
        try:
            async with asyncio.timeout(self._patience):
                return await receive()
        except TimeoutError as error:
            raise TooSlow(f"no more of the body came for {self._patience:g} seconds", field="body") from error

    def require_room(self, body: int, more: int) -> None:
        """Raise TooLarge for a body of that many bytes, Overloaded where there is no room for so many more."""
        if body > self._most:
            raise TooLarge(f"the body is larger than {self._most} bytes: send it in parts", field="body")
        if self._held + more > max(self._most_together, self._most):
            raise Overloaded(f"{self._held} bytes of requests wait already: send it again later")

    def hold(self, more: int) -> None:
        """Count bytes until their request is answered."""
        self._held += more


class _Body:
    """What one request holds: what has arrived of it."""

    def __init__(self, limit: BodyLimit) -> None:
        self._limit = limit
        self.held = 0

    def grow(self, size: int) -> None:
        more = size - self.held
        if more > 0:
            self._limit.require_room(size, more)
            self._limit.hold(more)
            self.held = size
