"""The way in, end to end: many requests together, repeated ones, poisonous ones, and too many."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
import zstandard
from asgi_lifespan import LifespanManager

from occupancy.app import create_app
from occupancy.database import Ingested, commit_together
from occupancy.ingest import writer
from occupancy.ingest.way import Way
from occupancy.parse import Parsed
from occupancy.settings import Settings
from tests.conftest import KEY

NOW = datetime.now(UTC).replace(microsecond=0)


def event(seconds: int = 0, dpu_id: str = "283", **change: Any) -> dict[str, Any]:
    time = (NOW - timedelta(seconds=seconds)).isoformat()
    return {"dpu_id": dpu_id, "timestamp": time, "direction": 1} | change


@pytest.fixture(autouse=True)
async def _dpus(client: httpx.AsyncClient) -> None:
    for dpu_id in ("283", "423"):
        await client.put(f"/v1/dpus/{dpu_id}", json={})


@asynccontextmanager
async def service(url: str, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    chosen = Settings(api_key=KEY, refresh="off", database_connections=1, **settings)
    async with LifespanManager(create_app(chosen, url)) as manager:
        transport = httpx.ASGITransport(app=manager.app)
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as opened:
            yield opened


async def stored(connection: asyncpg.Connection) -> int:
    number: int = await connection.fetchval("SELECT count(*) FROM occupancy.crossing")
    return number


@asynccontextmanager
async def refusing(connection: asyncpg.Connection, check: str) -> AsyncIterator[None]:
    """While it is open, the database refuses crossings for which `check` does not hold."""
    await connection.execute(f"ALTER TABLE occupancy.crossing ADD CONSTRAINT poison CHECK ({check})")
    try:
        yield
    finally:
        await connection.execute("ALTER TABLE occupancy.crossing DROP CONSTRAINT poison")


@pytest.mark.parametrize(
    ("headers", "encode"),
    [
        ({"Content-Type": "application/x-ndjson"}, bytes),
        ({"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}, gzip.compress),
        ({"Content-Type": "application/x-ndjson", "Content-Encoding": "zstd"}, zstandard.compress),
    ],
)
async def test_lines_come_plain_and_compressed(
    client: httpx.AsyncClient, headers: dict[str, str], encode: Any
) -> None:
    lines = b"\n".join(json.dumps(line).encode() for line in (event(1), event(2), {"dpu_id": "283"}))
    answer = await client.post("/v1/events", content=encode(lines), headers=headers)
    assert answer.json() | {"rejected": []} == {"accepted": 2, "duplicates": 0, "rejected": []}
    assert [rejected["code"] for rejected in answer.json()["rejected"]] == ["missing_field"]


async def test_a_batch_of_cloudevents_is_stored(client: httpx.AsyncClient) -> None:
    batch = [
        {"specversion": "1.0", "id": str(seq), "source": "/dpus/283", "type": "crossing", "data": event(seq)}
        for seq in range(3)
    ]
    headers = {"Content-Type": "application/cloudevents-batch+json"}
    answer = await client.post("/v1/events", content=json.dumps(batch), headers=headers)
    assert answer.json()["accepted"] == 3


async def test_each_event_has_a_receipt_where_it_is_asked_for(client: httpx.AsyncClient) -> None:
    await client.post("/v1/events", json=event(1))
    body = [event(1, direction=-1), event(2), event(1), event(2), {"dpu_id": "x"}, event(3, dpu_id="none")]
    answer = await client.post("/v1/events?receipts=true", json=body)
    assert answer.json()["receipts"] == [
        {"index": 0, "status": "conflict", "code": "conflict"},
        {"index": 1, "status": "accepted"},
        {"index": 2, "status": "duplicate"},
        {"index": 3, "status": "duplicate"},
        {"index": 4, "status": "rejected", "code": "missing_field"},
        {"index": 5, "status": "rejected", "code": "unknown_dpu"},
    ]
    assert "receipts" not in (await client.post("/v1/events?receipts=false", json=body)).json()


async def test_a_query_of_nothing_is_none(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/events?&", json=event())).status_code == 200


@pytest.mark.parametrize("query", ["receipt=true", "receipts=1"])
async def test_a_parameter_that_is_none_is_named(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.post(f"/v1/events?{query}", json=event())
    assert (answer.status_code, answer.json()["field"]) == (422, query.partition("=")[0])


async def test_requests_that_come_together_get_their_own_results(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    await client.post("/v1/events", json=event(0))
    bodies: list[Any] = [
        event(0),
        [event(1), event(2)],
        {"dpu_id": "283"},
        event(3, dpu_id="none"),
        [],
        event(4),
    ]
    answers = await asyncio.gather(*(client.post("/v1/events", json=body) for body in bodies))
    told = [(a.json()["accepted"], a.json()["duplicates"], len(a.json()["rejected"])) for a in answers]
    assert told == [(0, 1, 0), (2, 0, 0), (0, 0, 1), (0, 0, 1), (0, 0, 0), (1, 0, 0)]
    assert await stored(connection) == 4


async def test_an_event_that_the_database_refuses_is_kept_aside_alone(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    async with refusing(connection, "seq <> 666"):
        bodies: list[Any] = [
            event(1), [event(2), event(3, seq=666), event(4), {"dpu_id": "x"}], event(5, seq=666), event(6),
        ]  # fmt: skip
        answers = [
            a.json() for a in await asyncio.gather(*(client.post("/v1/events", json=body) for body in bodies))
        ]
    assert [(a["accepted"], [r["code"] for r in a["rejected"]]) for a in answers] == [
        (1, []), (2, ["unstorable", "missing_field"]), (0, ["unstorable"]), (1, []),
    ]  # fmt: skip
    assert answers[1]["rejected"][0]["index"] == 1
    kept = await connection.fetch(
        "SELECT payload FROM occupancy.rejected_event WHERE code = 'unstorable' ORDER BY id"
    )
    assert [json.loads(row["payload"])["seq"] for row in kept] == [666, 666]
    assert await stored(connection) == 4


async def test_a_request_under_a_key_is_answered_again_as_it_was(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    headers = {"Idempotency-Key": "batch-1"}
    body = [event(1), event(1), {"dpu_id": "x"}]
    first = await client.post("/v1/events", json=body, headers=headers)
    again = await client.post("/v1/events?receipts=true", json=body, headers=headers)
    assert first.json() == {key: value for key, value in again.json().items() if key != "receipts"}
    assert [receipt["status"] for receipt in again.json()["receipts"]] == [
        "accepted",
        "duplicate",
        "rejected",
    ]
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert await stored(connection) == 1


async def test_a_key_stands_for_one_request(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    headers = {"Idempotency-Key": "batch-1"}
    await client.post("/v1/events", json=event(1), headers=headers)
    answer = await client.post("/v1/events", json=event(2), headers=headers)
    assert (answer.status_code, answer.json()["field"], answer.json()["value"]) == (
        422,
        "Idempotency-Key",
        "batch-1",
    )
    assert await stored(connection) == 1


async def test_a_key_is_forgotten_after_its_time(database_url: str, connection: asyncpg.Connection) -> None:
    await connection.execute(
        "INSERT INTO occupancy.request_receipt (organization, idempotency_key, fingerprint, receipt, received_at) "
        "SELECT 1, 'old-' || n, '', 'null', now() - INTERVAL '1 hour' FROM generate_series(1, 3) AS n"
    )
    async with service(database_url, keep_receipts=timedelta(minutes=30)) as client:
        for _ in range(2):
            await client.post("/v1/events", json=event(1), headers={"Idempotency-Key": "new"})
    keys = await connection.fetch("SELECT idempotency_key FROM occupancy.request_receipt")
    assert [row["idempotency_key"] for row in keys] == ["new"]


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_that_cannot_be_one_is_refused(client: httpx.AsyncClient, key: str) -> None:
    answer = await client.post("/v1/events", json=event(1), headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")


async def test_under_a_key_too_an_event_that_the_database_refuses_is_kept_aside_alone(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    headers = {"Idempotency-Key": "batch-1"}
    body = [event(1), event(2, seq=666), {"dpu_id": "x"}]
    async with refusing(connection, "seq <> 666"):
        first = await client.post("/v1/events", json=body, headers=headers)
    again = await client.post("/v1/events", json=body, headers=headers)
    assert first.status_code == 200
    assert first.json() == again.json()
    assert [rejected["code"] for rejected in first.json()["rejected"]] == ["unstorable", "missing_field"]
    assert await stored(connection) == 1


async def test_what_cannot_even_be_kept_aside_leaves_its_key_free(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    headers = {"Idempotency-Key": "batch-1"}
    await connection.execute(
        "ALTER TABLE occupancy.rejected_event ADD CONSTRAINT poison CHECK (code <> 'unstorable')"
    )
    try:
        async with refusing(connection, "seq <> 666"):
            failed = await client.post("/v1/events", json=event(1, seq=666), headers=headers)
    finally:
        await connection.execute("ALTER TABLE occupancy.rejected_event DROP CONSTRAINT poison")
    assert failed.status_code == 500
    assert await connection.fetchval("SELECT count(*) FROM occupancy.request_receipt") == 0
    assert (await client.post("/v1/events", json=event(1, seq=666), headers=headers)).json()["accepted"] == 1


async def test_a_payload_that_the_database_refuses_is_kept_as_text(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    await connection.execute(
        "ALTER TABLE occupancy.rejected_event ADD CONSTRAINT poison CHECK (jsonb_typeof(payload) = 'string')"
    )
    try:
        answer = await client.post("/v1/events", json=[event(1), {"dpu_id": "x"}, event(2)])
    finally:
        await connection.execute("ALTER TABLE occupancy.rejected_event DROP CONSTRAINT poison")
    assert (answer.json()["accepted"], answer.json()["rejected"][0]["code"]) == (2, "missing_field")
    (kept,) = await connection.fetch("SELECT payload FROM occupancy.rejected_event")
    assert json.loads(json.loads(kept["payload"])) == {"dpu_id": "x"}


async def test_a_key_may_send_no_more_than_its_rate(
    database_url: str, connection: asyncpg.Connection
) -> None:
    async with service(database_url, max_events_per_second=0.5) as client:
        assert (await client.post("/v1/events", json=[event(s) for s in range(5)])).status_code == 200
        answer = await client.post("/v1/events", json=event(9))
    assert (answer.status_code, answer.json()["type"]) == (429, "urn:occupancy:problem:overloaded")
    assert int(answer.headers["retry-after"]) == 2
    assert await stored(connection) == 5


async def test_more_than_may_wait_is_refused_and_the_rest_is_stored(
    database_url: str, connection: asyncpg.Connection
) -> None:
    async with service(database_url, max_requests_waiting=3, ingest_writers=1) as client:
        answers = await asyncio.gather(*(client.post("/v1/events", json=event(s)) for s in range(30)))
        assert (await client.post("/v1/events", json=event(99))).status_code == 200
        metrics = (await client.get("/metrics")).text
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert await stored(connection) == codes.count(200) + 1
    assert "occupancy_requests_refused_total" in metrics


async def test_bodies_that_are_too_large_together_are_refused(
    database_url: str, connection: asyncpg.Connection
) -> None:
    body = json.dumps([event(second) for second in range(5)]).encode()
    limits = {"max_body_bytes": len(body), "max_bytes_waiting": len(body) + 10}

    async def slowly() -> AsyncIterator[bytes]:
        yield body[:50]
        await asyncio.sleep(0.2)
        yield body[50:]

    async with service(database_url, **limits) as client:
        headers = {"Content-Type": "application/json"}
        slow = asyncio.create_task(client.post("/v1/events", content=slowly(), headers=headers))
        await asyncio.sleep(0.1)
        refused = await client.post("/v1/events", content=body, headers=headers)
        assert (await slow).status_code == 200
        later = await client.post("/v1/events", content=body, headers=headers)
    assert (refused.status_code, later.status_code) == (429, 200)
    assert await stored(connection) == 5


async def test_what_was_taken_is_written_when_the_service_stops(
    database_url: str, connection: asyncpg.Connection
) -> None:
    one_by_one = Settings(refresh="off", max_events_per_transaction=1, ingest_writers=1)
    app = create_app(one_by_one, database_url)
    async with LifespanManager(app) as manager:
        transport = httpx.ASGITransport(app=manager.app)
        client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        tasks = [asyncio.create_task(client.post("/v1/events", json=event(s))) for s in range(20)]
        while not app.state.intake.waiting:  # noqa: ASYNC110 -- nothing tells of it
            await asyncio.sleep(0)
    answers = await asyncio.gather(*tasks)
    await client.aclose()
    assert [answer.status_code for answer in answers] == [200] * 20
    assert await stored(connection) == 20


async def test_old_events_do_not_hold_up_new_ones(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_up = asyncio.Event()

    async def slow_for_old(
        connection: asyncpg.Connection, organization: int, requests: Sequence[Parsed], way: Way
    ) -> list[Ingested]:
        if any(min(request.events.times) < NOW - timedelta(days=1) for request in requests):
            await held_up.wait()
        return await commit_together(connection, organization, requests, way)

    monkeypatch.setattr(writer, "commit_together", slow_for_old)
    async with service(database_url, ingest_writers=1) as client:
        old = asyncio.create_task(client.post("/v1/events", json=event(3600 * 24 * 3, dpu_id="423")))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            assert (await client.post("/v1/events", json=event(1))).json()["accepted"] == 1
        assert not old.done()
        held_up.set()
        assert (await old).json()["accepted"] == 1
    assert await stored(connection) == 2
