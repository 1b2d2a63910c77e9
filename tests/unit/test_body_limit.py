"""Bodies that never end, and what is held of them."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from occupancy.api.body_limit import BodyLimit


async def application(_scope: Scope, receive: Receive, send: Send) -> None:
    """Reads all of a body, then answers 200."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def ask(limit: BodyLimit, parts: list[bytes], *, announced: int, ends: bool = True) -> int:
    """The status that a caller gets who sends these parts, and then nothing more unless it `ends`."""
    statuses: list[int] = []
    left = list(parts)

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left) or not ends}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope: dict[str, Any] = {
        "type": "http", "method": "POST", "path": "/", "headers": [(b"content-length", str(announced).encode())],
    }  # fmt: skip
    async with asyncio.timeout(5):
        await limit(scope, receive, send)
    (status,) = statuses
    return status


async def test_a_body_that_stops_coming_is_answered_and_no_longer_held() -> None:
    limit = BodyLimit(application, most=100, most_together=100, patience=0.05)
    for _ in range(3):
        assert await ask(limit, [b"x" * 90], announced=100, ends=False) == 408
    assert await ask(limit, [b"x" * 100], announced=100) == 200


async def test_what_is_announced_and_has_not_come_takes_no_room() -> None:
    limit = BodyLimit(application, most=100, most_together=100, patience=1)
    waiting = asyncio.create_task(ask(limit, [b"x"], announced=100, ends=False))
    await asyncio.sleep(0)
    assert await ask(limit, [b"x" * 99], announced=99) == 200
    assert await ask(limit, [b"x" * 100], announced=100) == 429
    assert await waiting == 408


async def test_a_body_larger_than_one_may_be_is_refused_before_it_comes() -> None:
    limit = BodyLimit(application, most=100, most_together=1000)
    assert await ask(limit, [], announced=101) == 413
    assert await ask(limit, [b"x" * 60, b"x" * 60], announced=100) == 413
