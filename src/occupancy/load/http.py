"""A pool of HTTP/1.1 connections that costs little: one request at a time on each, kept alive, nothing interpreted.

A general client spends several times as much on a request as the service that is to be measured, and both share a
machine.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast
from urllib.parse import urlsplit

import httptools

from occupancy.errors import InvalidInput

T = TypeVar("T")
# An idle connection that the other side has closed meanwhile is noticed only when it is used.
_IDLE_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
_LARGEST_RETRY_AFTER = 3600.0
_OPENING_SECONDS = 10
# Fewer than any server lets wait to be accepted.
_OPENED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the service is, and the key it asks for."""

    host: str
    port: int
    secure: bool
    path: str
    key: str | None

    @classmethod
    def of(cls, url: str, key: str | None) -> Endpoint:
        """The endpoint that a URL like http://127.0.0.1:8000 names. Raises InvalidInput where it names none."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise InvalidInput(f"url: {error}", field="url", value=url) from error
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise InvalidInput("url: give an address like http://127.0.0.1:8000", field="url", value=url)
        if key is not None and not (key.isascii() and key.isprintable()):
            raise InvalidInput("api-key: a key is printable ASCII", field="api-key")
        secure = parts.scheme == "https"
        return cls(parts.hostname, port or (443 if secure else 80), secure, parts.path.rstrip("/"), key)

    def head(self, method: str, path: str) -> bytes:
        """The lines of a request up to and without the empty one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [f"{method} {self.path}{path} HTTP/1.1", f"Host: {host}:{self.port}"]
        if self.key is not None:
            lines.append(f"Authorization: Bearer {self.key}")
        return "".join(f"{line}\r\n" for line in lines).encode()


@dataclass(slots=True)
class Answer:
    """What came back. Status 0: nothing did, `lost` says why; `stale` if the connection had been idle before."""

    status: int
    body: bytes = b""
    retry_after: float | None = None
    lost: str = ""
    stale: bool = False


class _Connection(asyncio.Protocol, Generic[T]):
    """One request at a time; calls its pool back with the answer."""

    __slots__ = (
        "_body",
        "_parser",
        "_pool",
        "_retry_after",
        "_transport",
        "begun",
        "free_since",
        "item",
        "lost",
        "sent_at",
    )

    def __init__(self, pool: HttpPool[T]) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._retry_after: float | None = None
        self.item: T | None = None
        self.begun = False
        self.sent_at = 0.0
        self.free_since = 0.0
        self.lost = "the connection was closed"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, item: T, request: bytes, now: float) -> None:
        assert self._transport is not None  # noqa: S101 -- only an open connection is in the pool
        self.item = item
        self.begun = False
        self.sent_at = now
        self._transport.write(request)

    def close(self, reason: str) -> None:
        if self._transport is not None:
            self.lost = reason
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self.begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.close(f"not HTTP: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        self._pool.closed(self, str(error) if error else self.lost)

    # what httptools calls

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 11 and name.lower() == b"retry-after":
            self._retry_after = _seconds(value)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # an interim answer; the real one follows
            return
        answer = Answer(status, b"".join(self._body), self._retry_after)
        self._body.clear()
        self._retry_after = None
        self._pool.answered(self, answer, keep=self._parser.should_keep_alive())


def _seconds(value: bytes) -> float | None:
    text = value.strip()
    # a date is allowed as well, and nobody sends one
    return min(float(text), _LARGEST_RETRY_AFTER) if text.isdigit() else None


class HttpPool(Generic[T]):
    """`size` connections, used in turn, so that all processes that serve one address get their share.

    `on_answer` is called with each item that was sent and its answer, then `on_free` while a connection is free.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        size: int,
        on_answer: Callable[[T, Answer], None],
        on_free: Callable[[], None] = lambda: None,
    ) -> None:
        self._endpoint = endpoint
        self._size = size
        self._on_answer = on_answer
        self._on_free = on_free
        self._loop = asyncio.get_running_loop()
        self._free: deque[_Connection[T]] = deque()
        self._busy: set[_Connection[T]] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._closing = False
        self._end = (
            endpoint.head("POST", "/v1/events")
            + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        )
        self.failure = ""

    async def open(self) -> bool:
        """Open all connections. False if the first cannot be: `failure` says why."""
        try:
            self._free.append(await self._connection())
        except OSError as error:
            self.failure = str(error)
            return False
        for first in range(1, self._size, _OPENED_AT_ONCE):
            tasks = [self._open_one() for _ in range(first, min(first + _OPENED_AT_ONCE, self._size))]
            await asyncio.wait(tasks, timeout=_OPENING_SECONDS)
        return True

    async def close(self) -> None:
        """Close all connections; what is on its way is lost."""
        self._closing = True
        for task in self._opening:
            task.cancel()
        for connection in [*self._free, *self._busy]:
            connection.close("the load has ended")
        await asyncio.sleep(0)

    def post(self, item: T, body: bytes) -> bool:
        """Send events on a free connection. False if there is none."""
        return self._send(item, self._end % len(body) + body)

    def get(self, item: T, path: str) -> bool:
        """Ask on a free connection. False if there is none."""
        return self._send(item, self._endpoint.head("GET", path) + b"\r\n")

    def _send(self, item: T, request: bytes) -> bool:
        if not self._free:
            return False
        connection = self._free.popleft()
        self._busy.add(connection)
        connection.send(item, request, self._loop.time())
        return True

    @property
    def ready(self) -> bool:
        """Whether a connection is free."""
        return bool(self._free)

    def expire(self, seconds: float) -> None:
        """Give up on requests that have had no answer for so long."""
        oldest = self._loop.time() - seconds
        for connection in [busy for busy in self._busy if busy.sent_at < oldest]:
            connection.close(f"no answer in {seconds:g} s")

    def answered(self, connection: _Connection[T], answer: Answer, *, keep: bool) -> None:
        """Called by a connection that has got an answer."""
        item, connection.item = connection.item, None
        self._busy.discard(connection)
        if keep:
            connection.free_since = self._loop.time()
            self._free.append(connection)
        else:
            connection.close("the service closed the connection")
        if item is not None:
            self._on_answer(item, answer)
        if self._free:
            self._on_free()

    def closed(self, connection: _Connection[T], reason: str) -> None:
        """Called by a connection that is gone."""
        item, connection.item = connection.item, None
        self._busy.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if not self._closing:
            # one that never carried an answer may be closed again and again
            self._open_one(0.0 if connection.free_since else _FIRST_PAUSE)
        if item is not None:
            idle = connection.sent_at - connection.free_since
            stale = not connection.begun and connection.free_since > 0 and idle > _IDLE_SECONDS
            self._on_answer(item, Answer(0, lost=reason, stale=stale))

    def _open_one(self, after: float = 0.0) -> asyncio.Task[None]:
        task = self._loop.create_task(self._connect(after))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return task

    async def _connect(self, after: float) -> None:
        if after:
            await asyncio.sleep(after)
        pause = _FIRST_PAUSE
        while True:
            try:
                connection = await self._connection()
            except OSError:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                break
        self._free.append(connection)
        self._on_free()

    async def _connection(self) -> _Connection[T]:
        context = ssl.create_default_context() if self._endpoint.secure else None
        _, connection = await self._loop.create_connection(
            lambda: _Connection(self), self._endpoint.host, self._endpoint.port, ssl=context
        )
        return connection


class Questions:
    """GET requests, each waited for."""

    def __init__(self, endpoint: Endpoint, connections: int = 2) -> None:
        self._pool: HttpPool[asyncio.Future[Answer]] = HttpPool(
            endpoint, connections, self._answered, self._send
        )
        self._waiting: deque[tuple[asyncio.Future[Answer], str]] = deque()

    @staticmethod
    def _answered(future: asyncio.Future[Answer], answer: Answer) -> None:
        if not future.done():
            future.set_result(answer)

    async def open(self) -> None:
        """Open the connections. Raises InvalidInput if nobody answers there."""
        if not await self._pool.open():
            raise InvalidInput(f"url: the service cannot be reached: {self._pool.failure}", field="url")

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()

    def _send(self) -> None:
        while self._waiting and self._pool.get(*self._waiting[0]):
            self._waiting.popleft()

    async def get(self, path: str, timeout: float = 60.0) -> Answer:  # noqa: ASYNC109
        """The answer to a GET; status 0 if none came within so many seconds."""
        for _ in range(2):
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._waiting.append((future, path))
            self._send()
            try:
                # wait_for() of Python 3.11 forgets that it was cancelled if the answer comes at that moment.
                async with asyncio.timeout(timeout):
                    answer = await future
            except TimeoutError:
                self._pool.expire(timeout)
                return Answer(0, lost=f"no answer in {timeout:g} s")
            if not answer.stale:
                break
        return answer
