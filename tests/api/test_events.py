"""POST /v1/events: stored once, judged one by one, nothing lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from occupancy.database import Database
from occupancy.replay import replay_rejected
from occupancy.settings import Settings


def event(minute: int = 0, **change: Any) -> dict[str, Any]:
    return {"dpu_id": "283", "timestamp": f"2026-03-02T11:{minute:02}:00Z", "direction": 1} | change


async def send(client: httpx.AsyncClient, body: Any) -> dict[str, Any]:
    answer = await client.post("/v1/events", json=body)
    assert answer.status_code == 200, answer.text
    receipt: dict[str, Any] = answer.json()
    return receipt


@pytest.fixture(autouse=True)
async def _dpu(client: httpx.AsyncClient) -> None:
    assert (await client.put("/v1/dpus/283", json={})).status_code == 201


@pytest.mark.parametrize("body", [event(), [event()], {"events": [event()]}])
async def test_every_form_of_body_is_stored(client: httpx.AsyncClient, body: Any) -> None:
    assert await send(client, body) == {"accepted": 1, "duplicates": 0, "rejected": []}


async def test_an_event_is_stored_once(client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
    first = await send(client, [event(1), event(2), event(1)])
    again = await send(client, [event(2), event(3), event(1)])
    assert (first["accepted"], first["duplicates"]) == (2, 1)
    assert (again["accepted"], again["duplicates"]) == (1, 2)
    assert await connection.fetchval("SELECT count(*) FROM occupancy.crossing") == 3


async def test_seq_tells_events_of_one_instant_apart(client: httpx.AsyncClient) -> None:
    receipt = await send(client, [event(seq=1), event(seq=2), event(seq=1)])
    assert (receipt["accepted"], receipt["duplicates"]) == (2, 1)


@pytest.mark.parametrize("apart", [True, False], ids=["in two requests", "in one request"])
async def test_a_contradiction_is_reported_and_kept(
    client: httpx.AsyncClient, connection: asyncpg.Connection, apart: bool
) -> None:
    if apart:
        await send(client, event())
        receipt = await send(client, [event(direction=-1)])
    else:
        receipt = await send(client, [event(), event(direction=-1)])
    (rejected,) = receipt["rejected"]
    assert rejected["code"] == "conflict"
    assert rejected["index"] == (0 if apart else 1)
    assert "direction 1 at this timestamp and seq, not -1" in rejected["detail"]
    kept = await connection.fetchrow("SELECT code, payload FROM occupancy.rejected_event")
    assert kept is not None
    assert (kept["code"], json.loads(kept["payload"])["direction"]) == ("conflict", -1)
    assert await connection.fetchval("SELECT direction FROM occupancy.crossing") == 1


async def test_bad_events_never_lose_good_ones(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    receipt = await send(
        client,
        [
            event(1),
            event(2, direction=3),
            event(3, dpu_id="nobody"),
            event(4, timestamp=ahead),
            "\x00",
            event(5),
        ],
    )
    assert receipt["accepted"] == 2
    codes = {rejected["index"]: rejected["code"] for rejected in receipt["rejected"]}
    assert codes == {1: "invalid_direction", 2: "unknown_dpu", 3: "future_time", 4: "invalid_event"}
    kept = await connection.fetch("SELECT code, detail FROM occupancy.rejected_event")
    assert sorted(row["code"] for row in kept) == sorted(codes.values())
    assert all(row["detail"] for row in kept)


async def test_the_same_bad_event_is_kept_once(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    for _ in range(3):
        receipt = await send(client, [event(dpu_id="nobody"), event(direction=0)])
        assert len(receipt["rejected"]) == 2
    assert await connection.fetchval("SELECT count(*) FROM occupancy.rejected_event") == 2


async def test_no_event_can_stop_the_replay_of_others(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    odd = [{"occupancy:json": 5}, {"occupancy:json": "{"}, {"dpu_id": "\x00"}, "\ud800", None]
    # not by the client's own encoder, which refuses half a surrogate pair
    body = json.dumps([*odd, event(dpu_id="new")])
    answer = await client.post("/v1/events", content=body, headers={"Content-Type": "application/json"})
    assert len(answer.json()["rejected"]) == 6
    await client.put("/v1/dpus/new", json={})
    replayed = await replay_rejected(database, settings, 1)
    assert (replayed.accepted, replayed.still_rejected) == (1, 5)


async def test_a_number_that_nothing_can_hold_does_not_lose_the_others(client: httpx.AsyncClient) -> None:
    body = b'[{"dpu_id": "283", "direction": 1e400, "timestamp": "2026-03-02T11:00:00Z"}, %s]'
    answer = await client.post(
        "/v1/events",
        content=body % json.dumps(event()).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 200
    assert answer.json()["accepted"] == 1
    assert [rejected["code"] for rejected in answer.json()["rejected"]] == ["invalid_direction"]


async def test_events_of_an_unknown_dpu_come_in_once_it_is_registered(
    client: httpx.AsyncClient, connection: asyncpg.Connection, database: Database, settings: Settings
) -> None:
    await send(client, [event(1, dpu_id="new"), event(2, dpu_id="new"), event(1), event(1, direction=-1)])
    before = await replay_rejected(database, settings, 1)
    assert (before.accepted, before.still_rejected) == (0, 3)
    await client.put("/v1/dpus/new", json={})
    replayed = await replay_rejected(database, settings, 1)
    assert (replayed.accepted, replayed.duplicates, replayed.still_rejected) == (2, 0, 1)
    assert await connection.fetchval("SELECT count(*) FROM occupancy.crossing") == 3
    assert await connection.fetchval("SELECT array_agg(code) FROM occupancy.rejected_event") == ["conflict"]


async def test_an_unplaced_dpu_counts_nowhere_until_it_is_placed_back_dated(
    client: httpx.AsyncClient,
) -> None:
    await client.put("/v1/spaces/A", json={})
    await client.put("/v1/doorways/X", json={"side_a": "A", "side_b": None})
    assert (await send(client, event()))["accepted"] == 1
    at = {"at": "2026-03-02T12:00:00Z"}
    assert (await client.get("/v1/spaces/A/count", params=at)).json()["net"] == 0
    placement = {"doorway_id": "X", "facing": "a", "from": "2026-03-01T00:00:00Z"}
    assert (await client.post("/v1/dpus/283/placements", json=placement)).status_code == 201
    assert (await client.get("/v1/spaces/A/count", params=at)).json()["net"] == 1


@pytest.mark.parametrize(
    ("content", "headers", "status", "field"),
    [
        (b"{", {}, 422, "body"),
        (b'{"events": {}}', {}, 422, "events"),
        (b"[]", {"Content-Type": "text/csv"}, 415, "Content-Type"),
        (b"[]", {"Content-Type": ""}, 415, "Content-Type"),
        (b"[1,2,3,4,5,6]", {}, 413, "events"),
    ],
)
async def test_what_cannot_be_read_is_refused_whole(
    client: httpx.AsyncClient,
    settings: Settings,
    connection: asyncpg.Connection,
    content: bytes,
    headers: dict[str, str],
    status: int,
    field: str,
) -> None:
    settings.max_events_per_request = 5
    sent = {"Content-Type": "application/json"} | headers
    answer = await client.post("/v1/events", content=content, headers=sent)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == field
    assert await connection.fetchval("SELECT count(*) FROM occupancy.rejected_event") == 0


async def test_an_empty_request_is_fine(client: httpx.AsyncClient) -> None:
    assert await send(client, []) == {"accepted": 0, "duplicates": 0, "rejected": []}
