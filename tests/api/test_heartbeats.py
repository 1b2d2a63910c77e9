"""Heartbeats over HTTP: the latest is kept, each is judged by itself, clocks may be wrong."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from asgi_lifespan import LifespanManager

from occupancy.app import create_app
from occupancy.settings import Settings
from tests.conftest import KEY

Client = httpx.AsyncClient

HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


def beat(dpu_id: str = "283", ago: float = 0, **more: Any) -> dict[str, Any]:
    """A heartbeat of so many seconds ago."""
    return {"dpu_id": dpu_id, "timestamp": (now() - timedelta(seconds=ago)).isoformat(), **more}


def said(start: datetime, end: datetime, events: int) -> dict[str, Any]:
    return {"from": start.isoformat(), "to": end.isoformat(), "events": events}


async def send(client: Client, body: Any) -> dict[str, Any]:
    answer = await client.post("/v1/heartbeats", json=body)
    assert answer.status_code == 200, answer.text
    receipt: dict[str, Any] = answer.json()
    return receipt


async def status(client: Client, dpu_id: str = "283") -> dict[str, Any]:
    answer = await client.get(f"/v1/dpus/{dpu_id}/status")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.fixture(autouse=True)
async def _dpus(client: Client) -> None:
    for dpu_id in ("283", "423"):
        assert (await client.put(f"/v1/dpus/{dpu_id}", json={})).status_code == 201


async def test_a_heartbeat_of_one_dpu(client: Client) -> None:
    sent = now() - timedelta(seconds=90)
    answer = await client.post(
        "/v1/dpus/283/heartbeat", json={"timestamp": sent.isoformat(), "seq": 17, "firmware": "2.1"}
    )
    assert answer.json() == {"accepted": 1, "older": 0, "rejected": []}
    found = await status(client)
    assert at(found["last_heartbeat"]["timestamp"]) == sent
    assert found["last_heartbeat"]["seq"] == 17
    received = at(found["last_heartbeat"]["received_at"])
    assert timedelta(0) <= now() - received < timedelta(minutes=1)
    assert found["clock_skew_seconds"] == pytest.approx((sent - received).total_seconds())
    assert found["clock_skew_seconds"] < -89
    assert found["heard_at"] == found["last_heartbeat"]["received_at"]


async def test_a_dpu_that_never_spoke(client: Client) -> None:
    found = await status(client)
    assert {name: found[name] for name in found if name != "since"} == {
        "dpu_id": "283",
        "last_event": None,
        "last_heartbeat": None,
        "heard_at": None,
        "clock_skew_seconds": None,
        "seq": None,
        "rejected": {},
    }


async def test_an_older_heartbeat_replaces_no_newer_one(client: Client) -> None:
    await send(client, beat(ago=60, seq=5))
    assert await send(client, [beat(ago=120, seq=4)]) == {"accepted": 0, "older": 1, "rejected": []}
    first = await status(client)
    assert first["last_heartbeat"]["seq"] == 5
    # but the device was heard of
    assert at(first["heard_at"]) > at(first["last_heartbeat"]["received_at"])
    # the latest of several wins, whatever their order
    receipt = await send(client, [beat(ago=40, seq=6), beat(ago=20, seq=8), beat(ago=30, seq=7)])
    assert (receipt["accepted"], receipt["older"]) == (1, 2)
    assert (await status(client))["last_heartbeat"]["seq"] == 8


async def test_the_same_heartbeat_again_changes_nothing(client: Client) -> None:
    one = beat(ago=5, seq=3)
    for _ in range(2):
        assert await send(client, one) == {"accepted": 1, "older": 0, "rejected": []}
    found = await status(client)
    assert at(found["last_heartbeat"]["received_at"]) < at(found["heard_at"])


async def test_the_last_heartbeat_of_a_dead_device_sent_again_is_not_a_clock_set_back(
    client: Client, connection: asyncpg.Connection
) -> None:
    body = beat(ago=16 * 60)
    await send(client, body)
    # it came in as it was sent, and its gateway sends it again now
    await connection.execute(
        "UPDATE occupancy.heartbeat SET received_at = received_at - INTERVAL '16 minutes'"
    )
    await send(client, body)
    assert abs((await status(client))["clock_skew_seconds"]) < 5


@pytest.mark.parametrize("wrong", ["1970-01-01T00:00:10Z", "2099-01-01T00:00:00Z"])
async def test_a_clock_that_is_certainly_wrong_is_shown_and_blocks_nothing(
    client: Client, wrong: str
) -> None:
    await send(client, beat(ago=30, seq=5))
    assert (await send(client, beat(seq=1) | {"timestamp": wrong}))["accepted"] == 1
    found = await status(client)
    assert at(found["last_heartbeat"]["timestamp"]) == at(wrong)
    assert abs(found["clock_skew_seconds"]) > 1e9
    # put right
    assert (await send(client, beat(seq=2)))["accepted"] == 1
    found = await status(client)
    assert found["last_heartbeat"]["seq"] == 2
    assert abs(found["clock_skew_seconds"]) < 30


async def test_a_clock_that_is_set_right_hides_nothing(
    client: Client, connection: asyncpg.Connection
) -> None:
    """It was 4 minutes ahead. What a gateway delivers late stays what it is."""
    assert await send(client, beat(ago=-240, seq=5)) == {"accepted": 1, "older": 0, "rejected": []}
    assert (await status(client))["clock_skew_seconds"] == pytest.approx(240, abs=30)
    assert await send(client, beat(seq=6)) == {"accepted": 1, "older": 0, "rejected": []}
    # while the clock that was ahead would still be behind
    assert await send(client, [beat(ago=100, seq=4)]) == {"accepted": 0, "older": 1, "rejected": []}
    found = await status(client)
    assert found["last_heartbeat"]["seq"] == 6
    assert -30 < found["clock_skew_seconds"] <= 0
    assert found["last_heartbeat"]["received_at"] < found["heard_at"]
    health = await connection.fetchrow("SELECT * FROM bi.dpu_health WHERE dpu_id = '283'")
    assert health is not None
    assert health["last_heartbeat"] == at(found["last_heartbeat"]["received_at"])
    assert health["clock_skew_seconds"] == found["clock_skew_seconds"]


async def test_a_clock_that_is_set_right_between_two_requests_of_a_gateway(client: Client) -> None:
    receipt = await send(client, [beat("423", ago=-180, seq=7), beat(ago=-180, seq=7), beat(ago=-240, seq=8)])
    assert (receipt["accepted"], receipt["older"]) == (2, 1)
    receipt = await send(client, [beat(ago=20, seq=9), beat("423", seq=8), beat(seq=10)])
    assert (receipt["accepted"], receipt["older"]) == (2, 1)
    assert (await status(client))["last_heartbeat"]["seq"] == 10
    assert (await status(client, "423"))["last_heartbeat"]["seq"] == 8


async def test_a_clock_that_is_set_back_shows_when_nothing_newer_comes(
    client: Client, connection: asyncpg.Connection
) -> None:
    year = 365 * 86400
    await send(client, beat(seq=5))
    assert (await send(client, beat(ago=year, seq=1)))["older"] == 1
    await connection.execute(
        "UPDATE occupancy.heartbeat SET received_at = received_at - INTERVAL '16 minutes'"
    )
    assert (await send(client, beat(ago=year, seq=2)))["accepted"] == 1
    found = await status(client)
    assert found["last_heartbeat"]["seq"] == 2
    assert found["clock_skew_seconds"] == pytest.approx(-year, abs=30)
    assert found["last_heartbeat"]["received_at"] == found["heard_at"]


async def test_a_device_may_correct_itself_when_its_clock_was_set_right(
    client: Client, connection: asyncpg.Connection
) -> None:
    hour = now().replace(minute=0, second=0, microsecond=0) - HOUR
    for ago, events in ((-240, 7), (0, 9)):
        await send(client, beat(ago=ago, sent=[said(hour, hour + HOUR, events)]))
    assert await connection.fetchval("SELECT events FROM occupancy.sent_report") == 9


async def test_one_bad_heartbeat_never_loses_the_good_ones(client: Client) -> None:
    hour = now().replace(minute=0, second=0, microsecond=0)
    bad_parts = [
        said(hour - HOUR, hour - HOUR, 1),
        said(hour, now() + HOUR, 1),
        said(hour - HOUR, hour, -1),
        said(hour - 800 * HOUR, hour, 1),
        said(hour - timedelta(days=200), hour - timedelta(days=199), 1),
        {"from": "yesterday", "to": hour.isoformat(), "events": 1},
        {"to": hour.isoformat(), "events": 1},
        {"from": (hour - HOUR).isoformat(), "to": hour.isoformat()},
        7,
    ]
    receipt = await send(
        client,
        [
            beat(),
            beat("nobody"),
            "tick",
            beat(timestamp="now"),
            {"dpu_id": "283"},
            {"timestamp": now().isoformat()},
            beat(seq=-1),
            beat(seq=True),
            beat(sent={}),
            beat(timestamp="0001-01-01T00:00:00Z"),
            beat("x\u0000"),
            beat("423", sent=[*bad_parts, said(hour - HOUR, hour, 9)]),
        ],
    )
    assert receipt["accepted"] == 2
    codes = [(part["index"], part["code"]) for part in receipt["rejected"]]
    assert codes == [
        (1, "unknown_dpu"),
        (2, "invalid_heartbeat"),
        (3, "invalid_timestamp"),
        (4, "missing_field"),
        (5, "missing_field"),
        (6, "invalid_seq"),
        (7, "invalid_seq"),
        (8, "invalid_sent"),
        (9, "invalid_timestamp"),
        (10, "invalid_dpu_id"),
        (11, "invalid_sent"),
        (11, "future_time"),
        (11, "invalid_sent"),
        (11, "invalid_sent"),
        (11, "past_time"),
        (11, "invalid_timestamp"),
        (11, "missing_field"),
        (11, "missing_field"),
        (11, "invalid_sent"),
    ]
    details = [part["detail"] for part in receipt["rejected"]]
    assert details[0] == 'dpu_id "nobody" is not registered'
    assert details[2].startswith('timestamp "now": not an RFC 3339 timestamp')
    assert details[5] == "seq -1: not a whole number from 0 to 9223372036854775807"
    assert details[11].startswith("sent.1.to ")
    assert details[12] == "sent.2.events -1: not a whole number from 0 to 2147483647"


@pytest.mark.parametrize(
    ("body", "status_code", "field"),
    [
        ({"timestamp": "today"}, 422, "timestamp"),
        ({}, 422, "timestamp"),
        ({"timestamp": "2026-02-28T15:34:00Z", "seq": 1.5}, 422, "seq"),
        ({"timestamp": "2026-02-28T15:34:00Z", "dpu_id": "423"}, 422, "dpu_id"),
        ([], 422, "heartbeat"),
    ],
)
async def test_a_bad_heartbeat_of_one_dpu_is_a_problem(
    client: Client, body: Any, status_code: int, field: str
) -> None:
    answer = await client.post("/v1/dpus/283/heartbeat", json=body)
    assert answer.status_code == status_code, answer.text
    assert answer.json()["field"] == field
    assert (await status(client))["last_heartbeat"] is None


async def test_a_heartbeat_of_an_unknown_dpu_or_without_json_is_a_problem(client: Client) -> None:
    answer = await client.post("/v1/dpus/nobody/heartbeat", json={"timestamp": now().isoformat()})
    assert (answer.status_code, answer.json()["field"]) == (404, "dpu_id")
    json = {"Content-Type": "application/json"}
    for path in ("/v1/heartbeats", "/v1/dpus/283/heartbeat"):
        assert (await client.post(path, content=b"{", headers=json)).json()["field"] == "body"
        assert (await client.post(path, content=b"[]")).json()["field"] == "Content-Type"


async def test_too_many_heartbeats_are_refused_whole(database_url: str, settings: Settings) -> None:
    service = create_app(settings.model_copy(update={"max_heartbeats_per_request": 2}), database_url)
    async with LifespanManager(service) as manager:
        transport = httpx.ASGITransport(app=manager.app)
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as caller:
            answer = await caller.post("/v1/heartbeats", json=[beat(), beat(), beat()])
            assert answer.status_code == 413
            assert (await caller.post("/v1/heartbeats", json=[beat("423"), beat()])).json()["accepted"] == 2
            assert (await status(caller))["last_heartbeat"] is not None


async def test_the_latest_statement_about_a_range_is_kept(
    client: Client, connection: asyncpg.Connection
) -> None:
    hour = now().replace(minute=0, second=0, microsecond=0) - HOUR
    ends = hour + timedelta(minutes=30)

    async def stored() -> list[tuple[str, int]]:
        rows = await connection.fetch(
            "SELECT dpu_id, events FROM occupancy.sent_report JOIN occupancy.dpu ON dpu.id = dpu ORDER BY 1, 2"
        )
        return [(row["dpu_id"], row["events"]) for row in rows]

    await send(client, [beat(ago=20, sent=[said(hour, ends, 7)]), beat("423", sent=[said(hour, ends, 2)])])
    # later words of the device, then earlier ones that come late
    await send(client, beat(ago=10, sent=[said(hour, ends, 9)]))
    receipt = await send(client, beat(ago=15, sent=[said(hour, ends, 8), said(hour, hour + HOUR / 4, 3)]))
    assert (receipt["accepted"], receipt["older"], receipt["rejected"]) == (0, 1, [])
    assert await stored() == [("283", 3), ("283", 9), ("423", 2)]


async def test_requests_that_are_written_together_get_their_own_answers(
    client: Client, connection: asyncpg.Connection
) -> None:
    """All but the first wait for it, and are one group."""
    bodies: list[Any] = [[beat("423", ago=30 - number, seq=number), beat("nobody")] for number in range(20)]
    bodies[7] = [beat("nobody"), "tick", beat("283", seq=70, sent=[said(now() - 2 * HOUR, now() - HOUR, 3)])]
    receipts = await asyncio.gather(*(send(client, body) for body in bodies))
    for number, receipt in enumerate(receipts):
        codes = [(part["index"], part["code"]) for part in receipt["rejected"]]
        if number == 7:
            assert receipt["accepted"] == 1
            assert codes == [(0, "unknown_dpu"), (1, "invalid_heartbeat")]
        else:
            assert receipt["accepted"] + receipt["older"] == 1
            assert codes == [(1, "unknown_dpu")]
    assert receipts[19]["accepted"] == 1
    assert sum(receipt["accepted"] for receipt in receipts) <= 4, "each was written by itself"
    assert (await status(client, "423"))["last_heartbeat"]["seq"] == 19
    assert (await status(client))["last_heartbeat"]["seq"] == 70
    assert await connection.fetchval("SELECT events FROM occupancy.sent_report") == 3


async def test_heartbeats_are_counted(client: Client) -> None:
    def value(text: str, outcome: str) -> float:
        name = f'occupancy_heartbeats_total{{outcome="{outcome}"}}'
        lines = [line for line in text.splitlines() if line.startswith(name)]
        return float(lines[0].split()[1]) if lines else 0

    outcomes = ("accepted", "older", "unknown_dpu")
    before = (await client.get("/metrics")).text
    await send(client, [beat(), beat(ago=5), beat("nobody")])
    after = (await client.get("/metrics")).text
    assert [value(after, outcome) - value(before, outcome) for outcome in outcomes] == [1, 1, 1]
