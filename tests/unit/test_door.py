"""Requests for which there is no time: refused as they arrive, and nothing else changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from occupancy.api import door
from occupancy.api.door import Door, Doorkeeper
from occupancy.ingest.metrics import REQUESTS_REFUSED

LARGE = bytes(8 * 2**20)
EVENTS = b"POST /v1/events HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nhello"


class Application:
    """Answers 200 with what it got, once `open` is set; at most two requests with events may be under way."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.under_way = 0
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "lifespan":
            scope["state"][Doorkeeper.NAME] = Doorkeeper(2)
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.under_way += 1
        self.asked.append(scope["path"])
        body = LARGE if scope["path"] == "/large" else b""
        message: Message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        await self.open.wait()
        self.under_way -= 1
        length = str(len(body)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": body})

    async def until_under_way(self, requests: int) -> None:
        """Wait until so many requests have come in."""
        async with asyncio.timeout(5):
            while self.under_way < requests:  # noqa: ASYNC110 -- it is counted by the server
                await asyncio.sleep(0.01)


class Caller:
    """A connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, request: bytes) -> None:
        """Send so many bytes, as they are."""
        self._writer.write(request)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer."""
        async with asyncio.timeout(5):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.rstrip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await self._reader.readexactly(int(headers["content-length"]))
        return int(status.split()[1]), headers, body

    async def ends(self) -> bool:
        """Whether the service closes the connection without a further byte."""
        async with asyncio.timeout(5):
            return await self._reader.read(1) == b""

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


class House:
    """The application behind the door, and callers."""

    def __init__(self, application: Application, port: int) -> None:
        self.application = application
        self._port = port
        self._callers: list[Caller] = []

    async def caller(self) -> Caller:
        """A new connection."""
        caller = Caller(*await asyncio.open_connection("127.0.0.1", self._port))
        self._callers.append(caller)
        return caller

    async def fill(self) -> list[Caller]:
        """As many requests under way as may be."""
        callers = [await self.caller(), await self.caller()]
        for caller in callers:
            caller.send(EVENTS)
        await self.application.until_under_way(2)
        return callers

    def close(self) -> None:
        """Hang up all connections."""
        for caller in self._callers:
            caller.close()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with _serving(keep_alive=5) as house:
        yield house


@asynccontextmanager
async def _serving(keep_alive: int) -> AsyncIterator[House]:
    application = Application()
    server = uvicorn.Server(
        uvicorn.Config(
            application, port=0, http=Door, lifespan="on", log_level="error", timeout_keep_alive=keep_alive
        )
    )
    serving = asyncio.create_task(server._serve())
    async with asyncio.timeout(5):
        while not server.started:  # noqa: ASYNC110 -- uvicorn has no event for it
            await asyncio.sleep(0.01)
    house = House(application, server.servers[0].sockets[0].getsockname()[1])
    try:
        yield house
    finally:
        application.open.set()
        house.close()
        server.should_exit = True
        with suppress(TimeoutError):
            await asyncio.wait_for(serving, 10)


async def test_events_are_refused_while_too_many_requests_are_under_way(house: House) -> None:
    before = REQUESTS_REFUSED._value.get()
    first, second = await house.fill()
    third = await house.caller()
    # on one connection, which stays open; two of them at once
    for request in (EVENTS, EVENTS + EVENTS, b""):
        third.send(request)
        status, headers, body = await third.answer()
        assert (status, headers["content-type"]) == (429, "application/problem+json")
        assert int(headers["retry-after"]) >= 1
        assert json.loads(body)["type"] == "urn:occupancy:problem:overloaded"
    assert house.application.under_way == 2
    assert REQUESTS_REFUSED._value.get() == before + 3
    house.application.open.set()
    for caller in (first, second):
        assert (await caller.answer())[::2] == (200, b"hello")
    third.send(EVENTS)
    assert (await third.answer())[::2] == (200, b"hello")


async def test_a_body_that_is_refused_may_come_in_pieces(house: House) -> None:
    await house.fill()
    third = await house.caller()
    third.send(EVENTS[:-3])
    await asyncio.sleep(0.05)
    # it was refused when its head came, whatever is free by now
    house.application.open.set()
    await asyncio.sleep(0.05)
    third.send(EVENTS[-3:] + EVENTS)
    assert (await third.answer())[0] == 429
    assert (await third.answer())[::2] == (200, b"hello")


async def test_what_follows_a_refusal_on_its_connection_is_answered_after_it() -> None:
    """However long that takes: the connection is not idle."""
    async with _serving(keep_alive=1) as house:
        first, _ = await house.fill()
        third = await house.caller()
        third.send(EVENTS + b"GET /healthz HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\nme")
        assert (await third.answer())[0] == 429
        await house.application.until_under_way(3)
        await asyncio.sleep(1.3)
        house.application.open.set()
        assert (await third.answer())[::2] == (200, b"me")
        assert (await first.answer())[0] == 200


async def test_requests_without_events_do_not_shut_the_door(house: House) -> None:
    for _ in range(3):
        (await house.caller()).send(b"GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n")
    await house.application.until_under_way(3)
    fourth = await house.caller()
    fourth.send(EVENTS)
    await house.application.until_under_way(4)
    house.application.open.set()
    assert (await fourth.answer())[0] == 200


async def test_what_has_been_answered_or_given_up_makes_room(house: House) -> None:
    first, second = await house.fill()
    house.application.open.set()
    assert (await first.answer())[0] == 200
    second.close()
    house.application.open.clear()
    for _ in range(2):
        (await house.caller()).send(EVENTS)
    await house.application.until_under_way(2)


async def test_a_large_answer_arrives_whole_before_a_refusal_behind_it(house: House) -> None:
    await house.fill()
    third = await house.caller()
    third.send(b"GET /large HTTP/1.1\r\nHost: here\r\n\r\n")
    await house.application.until_under_way(3)
    house.application.open.set()
    await asyncio.sleep(0.1)
    house.application.open.clear()
    await house.fill()
    third.send(EVENTS)
    await asyncio.sleep(0.8)
    assert len((await third.answer())[2]) == len(LARGE)
    assert (await third.answer())[0] in {200, 429}


async def test_an_upgrade_is_left_to_the_application(house: House) -> None:
    await house.fill()
    third = await house.caller()
    third.send(EVENTS.replace(b"Host: here", b"Host: here\r\nConnection: Upgrade\r\nUpgrade: other"))
    await house.application.until_under_way(3)
    house.application.open.set()
    assert (await third.answer())[0] == 200


@pytest.mark.parametrize("head", [b"Expect: 100-continue\r\n", b"Connection: close\r\n"])
async def test_nothing_is_done_behind_the_last_answer(house: House, head: bytes) -> None:
    await house.fill()
    third = await house.caller()
    third.send(
        EVENTS.replace(b"Host: here\r\n", b"Host: here\r\n" + head)
        + b"DELETE /v1/x HTTP/1.1\r\nHost: here\r\n\r\n"
    )
    status, headers, _ = await third.answer()
    assert (status, headers["connection"]) == (429, "close")
    assert await third.ends()
    assert house.application.asked == ["/v1/events"] * 2


async def test_whoever_reads_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch, house: House) -> None:
    monkeypatch.setattr(door, "_WRITE_PATIENCE", 0.3)
    third = await house.caller()
    house.application.open.set()
    third.send(b"GET /large HTTP/1.1\r\nHost: here\r\n\r\n")
    await asyncio.sleep(1)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await third.answer()


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
async def test_whoever_sends_again_at_once_is_refused_twice_a_second_at_most(
    house: House, version: bytes
) -> None:
    await house.fill()
    third = await house.caller()
    begun = asyncio.get_running_loop().time()
    for _ in range(3):
        third.send(EVENTS.replace(b"HTTP/1.1", version + b"\r\nConnection: keep-alive"))
        assert (await third.answer())[0] == 429
        if version == b"HTTP/1.0":
            assert await third.ends()
            third = await house.caller()
    assert asyncio.get_running_loop().time() - begun >= 1.4


async def test_all_but_events_are_let_through(house: House) -> None:
    await house.fill()
    third = await house.caller()
    third.send(b"GET /v1/events HTTP/1.1\r\nHost: here\r\n\r\n")
    await house.application.until_under_way(3)
    fourth = await house.caller()
    fourth.send(b"POST /v1/events/other HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n")
    await house.application.until_under_way(4)
    fifth = await house.caller()
    fifth.send(EVENTS.replace(b"/v1/events", b"/v1/events?receipts=true"))
    assert (await fifth.answer())[0] == 429


async def test_answers_keep_the_order_of_requests_on_one_connection(house: House) -> None:
    first, _ = await house.fill()
    # behind a request of its own that is under way, it waits for its turn
    first.send(EVENTS)
    await asyncio.sleep(0.05)
    house.application.open.set()
    assert [(await first.answer())[0] for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "head", [b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"Connection: close\r\nContent-Length: 0\r\n"]
)
async def test_a_connection_that_is_not_to_go_on_is_closed_after_the_answer(
    house: House, head: bytes
) -> None:
    await house.fill()
    third = await house.caller()
    third.send(b"POST /v1/events HTTP/1.1\r\nHost: here\r\n" + head + b"\r\n")
    status, headers, _ = await third.answer()
    assert (status, headers["connection"]) == (429, "close")
    assert await third.ends()


@pytest.mark.parametrize("sent", [EVENTS, EVENTS[:-3]])
async def test_a_refused_connection_on_which_nothing_more_comes_is_closed(sent: bytes) -> None:
    async with _serving(keep_alive=1) as house:
        await house.fill()
        third = await house.caller()
        third.send(sent)
        if sent == EVENTS:
            assert (await third.answer())[0] == 429
        assert await third.ends()


async def test_whoever_reads_no_answers_is_not_answered_for_ever(
    monkeypatch: pytest.MonkeyPatch, house: House
) -> None:
    monkeypatch.setattr(door, "_WRITE_PATIENCE", 0.3)
    await house.fill()
    third = await house.caller()

    async def send_and_never_read() -> None:
        while True:
            third.send(EVENTS * 1000)
            await third._writer.drain()

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_and_never_read(), 20)
