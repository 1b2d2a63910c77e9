"""Where requests arrive: events that there is no time for are refused before anything is made of them."""

from __future__ import annotations

from functools import cache

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from occupancy.api.problems import problem
from occupancy.errors import Overloaded
from occupancy.ingest.metrics import REQUESTS_REFUSED

# In the state that the application's lifespan yields: how many requests may be under way.
MOST_UNDER_WAY = "most_requests_under_way"
_METHOD, _PATH = b"POST", b"/v1/events"
# Seconds until a refusal is sent. Whoever is refused at once and sends again at once would leave no time for others.
_PAUSE = 0.5
# What is under way is answered within about a second.
_RETRY_AFTER = 2


class Door(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which answers 429 by itself to events while too many requests are under way.

    Refusing takes a fraction of what an answer from the application takes, and each connection is refused twice a
    second at most. So a process that gets several times as many requests as it can answer goes on answering about as
    many as it can, each within a bounded time.
    """

    _is_refusing = False
    # refusals that are not sent yet
    _owed = 0
    _keeps_alive = True

    def on_headers_complete(self) -> None:
        """Called by the parser. Refuse the request, or have the application answer it."""
        self._is_refusing = self._has_no_time()
        if not self._is_refusing:
            # answers are given in the order of the requests
            self._pay()
            super().on_headers_complete()
        elif self.expect_100_continue:
            # the body is not wanted, and whoever waits to be asked for it sends none
            self._owe(keep_alive=False)
        else:
            # an upload that never ends is given up as an idle connection is
            self._wait_for_more()

    def on_body(self, body: bytes) -> None:
        """Called by the parser. Nothing is kept of what is refused."""
        if self._is_refusing:
            self._wait_for_more()
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if not self._is_refusing:
            super().on_message_complete()
        elif not self.transport.is_closing():
            self._owe(keep_alive=self.parser.should_keep_alive())

    def shutdown(self) -> None:
        """Called by the server when it ends."""
        self._pay()
        super().shutdown()

    def _has_no_time(self) -> bool:
        most: int | None = self.app_state.get(MOST_UNDER_WAY)
        return (
            most is not None
            and len(self.tasks) >= most
            and self.parser.get_method() == _METHOD
            and self.url.partition(b"?")[0] == _PATH
            # behind a request that is under way on the same connection, this one waits for its turn
            and (self.cycle is None or self.cycle.response_complete)
        )

    def _owe(self, *, keep_alive: bool) -> None:
        REQUESTS_REFUSED.inc()
        self._unset_keepalive_if_required()
        self._owed += 1
        self._keeps_alive = keep_alive
        if not keep_alive:
            self._pay()
        elif self._owed == 1:
            self.flow.pause_reading()
            self.loop.call_later(_PAUSE, self._pay)

    def _pay(self) -> None:
        if not self._owed or self.transport.is_closing():
            return
        refusals = [_refusal(keep_alive=True)] * (self._owed - 1) + [_refusal(keep_alive=self._keeps_alive)]
        self._owed = 0
        self.transport.write(b"".join(refusals))
        if not self._keeps_alive:
            self.transport.close()
        elif self.flow.write_paused:
            # whoever sends on and reads no answers would have them heap up
            self.transport.abort()
        else:
            self.flow.resume_reading()
            self._wait_for_more()

    def _wait_for_more(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )


@cache
def _refusal(*, keep_alive: bool) -> bytes:
    error = Overloaded("as many requests as may be are under way: send it again later")
    response = problem(error.status, error.type, error.title, error.detail)
    response.headers["Retry-After"] = str(_RETRY_AFTER)
    if not keep_alive:
        response.headers["Connection"] = "close"
    lines = [b"HTTP/1.1 429 Too Many Requests"]
    lines += [name + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body)
