"""Where requests arrive: events that there is no time for are refused before anything is made of them."""

from __future__ import annotations

from asyncio import TimerHandle
from functools import cache
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from occupancy.api.problems import problem
from occupancy.errors import Overloaded
from occupancy.ingest.metrics import REQUESTS_REFUSED

_METHOD, _PATH = "POST", "/v1/events"
# Seconds until a refusal is sent. Whoever is refused at once and sends again at once would leave no time for others.
_PAUSE = 0.5
# What is under way is answered within about a second.
_RETRY_AFTER = 2
# Whoever reads nothing of what is sent for so many seconds holds up a request, and is hung up on.
_WRITE_PATIENCE = 60.0


class Doorkeeper:
    """Counts the requests with events of one process that are under way, `most` of which may be."""

    # its name in the state that the application's lifespan yields
    NAME = "doorkeeper"

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside = 0

    @property
    def has_room(self) -> bool:
        """Whether one more may come in."""
        return self._inside < self._most

    def counted(self, app: ASGIApp) -> ASGIApp:
        """The application for one request, which is under way from now on until it is answered or given up."""
        self._inside += 1

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)
            finally:
                self._inside -= 1

        return counted


class Door(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which answers 429 by itself to events while too many of them are under way.

    Refusing takes a fraction of what an answer from the application takes, and each connection is refused twice a
    second at most. So a process that gets several times as many requests as it can answer goes on answering about as
    many as it can, each within a bounded time.
    """

    # whether what arrives belongs to a request that is refused
    _is_refusing = False
    # refusals that are not sent yet; whether the last of them is the end of the connection
    _owed = 0
    _ends = False
    _holds_reading = False
    _unread: TimerHandle | None = None

    # ------------------------------------------------------------------ what the parser calls

    def on_headers_complete(self) -> None:
        """Refuse the request, or have the application answer it."""
        self._is_refusing = self._ends or self._has_no_time()
        if not self._is_refusing:
            # answers are given in the order of the requests
            self._pay()
            self._unset_keepalive_if_required()
            super().on_headers_complete()
        elif self.expect_100_continue:
            # the body is not wanted, and whoever waits to be asked for it sends none
            self._owe(ends=True)
        else:
            self._wait_for_more()

    def on_body(self, body: bytes) -> None:
        """Keep nothing of what is refused."""
        if not self._is_refusing:
            super().on_body(body)
        elif not self._owed:
            # an upload of which no more comes is given up as an idle connection is
            self._wait_for_more()

    def on_message_complete(self) -> None:
        """Answer what is refused, a little later."""
        if not self._is_refusing:
            super().on_message_complete()
        else:
            is_old = self.parser.get_http_version() == "1.0"
            self._owe(ends=is_old or not self.parser.should_keep_alive())

    def send_400_response(self, msg: str) -> None:
        """Called for what is no HTTP."""
        self._pay()
        super().send_400_response(msg)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        keeper: Doorkeeper | None = self.app_state.get(Doorkeeper.NAME)
        if keeper is not None and cycle.scope["method"] == _METHOD and cycle.scope["path"] == _PATH:
            app = keeper.counted(app)
        super()._start_asgi_task(cycle, app)

    # ------------------------------------------------------------------ what the transport and the server call

    def pause_writing(self) -> None:
        """More is to be sent than the other side reads."""
        super().pause_writing()
        self._unread = self.loop.call_later(_WRITE_PATIENCE, self.transport.abort)

    def resume_writing(self) -> None:
        """The other side reads again, or is gone."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        self._read_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        if self._unread is not None:
            self._unread.cancel()

    def shutdown(self) -> None:
        """The server ends."""
        self._ends = True
        self._pay()
        super().shutdown()

    # ------------------------------------------------------------------ refusals

    def _has_no_time(self) -> bool:
        keeper: Doorkeeper | None = self.app_state.get(Doorkeeper.NAME)
        return (
            keeper is not None
            and not keeper.has_room
            and self.parser.get_method() == _METHOD.encode()
            and self.url.partition(b"?")[0] == _PATH.encode()
            and not self.parser.should_upgrade()
            # behind a request that is under way on the same connection, this one waits for its turn
            and (self.cycle is None or self.cycle.response_complete)
        )

    def _owe(self, *, ends: bool) -> None:
        if self._ends or self.transport.is_closing():
            # nothing is answered behind the last answer
            return
        REQUESTS_REFUSED.inc()
        self._unset_keepalive_if_required()
        self._ends = ends
        self._owed += 1
        if self._owed == 1:
            self._holds_reading = True
            self.flow.pause_reading()
            self.loop.call_later(_PAUSE, self._pay)

    def _pay(self) -> None:
        if not self._owed or self.transport.is_closing():
            return
        self.transport.write(_refusal() * (self._owed - 1) + _refusal(ends=self._ends))
        self._owed = 0
        if self._ends:
            self.loop.call_later(_WRITE_PATIENCE, self.transport.abort)
            self.transport.close()
        else:
            self._read_on()
            self._wait_for_more()

    def _read_on(self) -> None:
        # Whoever sends on and reads no answers would have them heap up.
        if self._holds_reading and not self._owed and not self.flow.write_paused:
            self._holds_reading = False
            self.flow.resume_reading()

    def _wait_for_more(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )


@cache
def _refusal(*, ends: bool = False) -> bytes:
    error = Overloaded("as many requests as may be are under way: send it again later")
    response = problem(error.status, error.type, error.title, error.detail)
    response.headers["Retry-After"] = str(_RETRY_AFTER)
    if ends:
        response.headers["Connection"] = "close"
    lines = [b"HTTP/1.1 429 Too Many Requests"]
    lines += [name + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body)
