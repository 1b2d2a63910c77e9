"""A service in small, with faults on demand: it stores events in memory and answers for counts.

What a DPU does to which space is written down here a second time, so that a mistake in the load's own model shows.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

Key = tuple[str, datetime, int]


@dataclass
class Faults:
    """What is wrong with it. Functions get the number of a request with events, from 0."""

    drops: Callable[[dict[str, Any]], bool] = lambda _: False  # acknowledged, and not stored
    answers: Callable[[int], int] = lambda _: 200  # the status
    retry_after: int | None = None
    waits: Callable[[int], float] = lambda _: 0.0  # seconds before the answer
    stalls: tuple[int, float] | None = None  # at that request, everything stands still for so many seconds
    hangs_up: Callable[[int], bool] = lambda _: False  # after storing, without an answer
    receipt: Callable[[dict[str, Any]], dict[str, Any]] = lambda receipt: receipt


@dataclass
class Service:
    """What it holds, and what it was sent."""

    faults: Faults = field(default_factory=Faults)
    stored: dict[Key, int] = field(default_factory=dict)
    crossings: dict[str, list[tuple[datetime, int]]] = field(default_factory=lambda: defaultdict(list))
    known_dpus: int = 10**9
    requests: int = 0
    bodies: list[Any] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    standing_until: float = 0.0
    port: int = 0
    reads: bool = True

    def ingest(self, body: bytes) -> dict[str, Any]:
        if not self.reads:
            return {"accepted": 1, "duplicates": 0, "rejected": []}
        given = json.loads(body)
        self.bodies.append(given)
        accepted = duplicates = 0
        rejected = []
        for index, event in enumerate(given.get("events", [given])):
            if number(event["dpu_id"]) >= self.known_dpus:
                rejected.append({"index": index, "code": "unknown_dpu", "detail": "not registered"})
                continue
            key = (event["dpu_id"], datetime.fromisoformat(event["timestamp"]), event["seq"])
            if key in self.stored:
                duplicates += 1
                continue
            accepted += 1
            if not self.faults.drops(event):
                self.store(key, event["direction"])
        return self.faults.receipt({"accepted": accepted, "duplicates": duplicates, "rejected": rejected})

    def counts(self, query: dict[str, list[str]]) -> dict[str, Any]:
        at = datetime.fromisoformat(query["at"][0])
        return {"items": [self.count(space, at) for space in query["space_id"][0].split(",")]}

    def store(self, key: Key, direction: int) -> None:
        if key in self.stored:
            return
        self.stored[key] = direction
        dpu = number(key[0])
        inwards = direction if dpu % 2 == 0 else -direction
        for space in (f"room-{dpu // 4}", f"floor-{dpu // 40}"):
            self.crossings[space].append((key[1], inwards))

    def count(self, space_id: str, at: datetime) -> dict[str, Any]:
        crossings = self.crossings[space_id.split("-", 1)[1]]
        entries = sum(1 for time, inwards in crossings if time <= at and inwards == 1)
        exits = sum(1 for time, inwards in crossings if time <= at and inwards == -1)
        return {
            "space_id": space_id,
            "net": entries - exits,
            "entries": entries,
            "exits": exits,
            "since": None,
        }


def number(name: str) -> int:
    """The number at the end of an id."""
    return int(name.rsplit("-", 1)[1])


class Protocol(asyncio.Protocol):
    """HTTP as far as the load needs it: whole requests, one at a time."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        method, target, _ = lines[0].split(" ")
        if method == "GET":
            self.answer(200, self.service.counts(parse_qs(urlsplit(target).query)))
        else:
            self.post(rest[:length])

    def post(self, body: bytes) -> None:
        service, faults = self.service, self.service.faults
        request = service.requests
        service.requests += 1
        now = asyncio.get_running_loop().time()
        service.arrivals.append(now)
        status = faults.answers(request)
        if status == 200 or status >= 500:
            receipt = service.ingest(body)
        if faults.hangs_up(request):
            self.transport.abort()
            return
        if faults.stalls is not None and request == faults.stalls[0]:
            service.standing_until = now + faults.stalls[1]
        content = receipt if status == 200 else {"detail": "refused"}
        wait = max(faults.waits(request), service.standing_until - now)
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self.answer, status, content)
        else:
            self.answer(status, content)

    def answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content, separators=(",", ":")).encode()
        after = self.service.faults.retry_after
        more = f"retry-after: {after}\r\n" if after is not None and status == 429 else ""
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}content-length: {len(body)}\r\n\r\n"
        if not self.transport.is_closing():
            self.transport.write(head.encode() + body)


@asynccontextmanager
async def serving(faults: Faults | None = None, port: int = 0) -> AsyncIterator[Service]:
    """The service, on a loopback port."""
    service = Service(faults or Faults())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Protocol(service), "127.0.0.1", port)
    service.port = server.sockets[0].getsockname()[1]
    async with server:
        yield service


async def _forever(port: int) -> None:
    async with serving(port=port) as service:
        service.reads = False
        await asyncio.Event().wait()


if __name__ == "__main__":  # to see what the generator itself costs
    import uvloop

    uvloop.run(_forever(int(sys.argv[1])))
