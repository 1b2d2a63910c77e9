"""What a DPU says against what is stored, over HTTP: status, the silent ones, reconciliation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

import asyncpg
import httpx
import pytest

from tests.api.house import all_items, get, refuse

Client = httpx.AsyncClient

HOUR = timedelta(hours=1)
NOW = datetime.now(UTC)
# Some hours ago, whatever the time is.
START = NOW.replace(minute=0, second=0, microsecond=0) - 6 * HOUR


def text(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


async def walk(client: Client, *steps: tuple[float, int], dpu_id: str = "283", direction: int = 1) -> None:
    """Events of a DPU: minutes after START, and number."""
    events = [
        {
            "dpu_id": dpu_id,
            "timestamp": text(START + timedelta(minutes=minute)),
            "direction": direction,
            "seq": seq,
        }
        for minute, seq in steps
    ]
    answer = await client.post("/v1/events", json=events)
    assert answer.json()["accepted"] == len(events), answer.text


async def say(client: Client, dpu_id: str = "283", at: datetime | None = None, **more: Any) -> None:
    body = {"timestamp": text(at or datetime.now(UTC)), **more}
    answer = await client.post(f"/v1/dpus/{dpu_id}/heartbeat", json=body)
    assert answer.json()["rejected"] == [], answer.text


def sent(hour: float, hours: float, events: int) -> dict[str, Any]:
    start = START + hour * HOUR
    return {"from": text(start), "to": text(start + hours * HOUR), "events": events}


@pytest.fixture(autouse=True)
async def _dpus(client: Client) -> None:
    for dpu_id in ("283", "423", "999"):
        await client.put(f"/v1/dpus/{dpu_id}", json={})


async def test_the_numbers_of_a_dpu(client: Client) -> None:
    await walk(client, (0, 97), (1, 98), (2, 100), (200, 105), (210, 1), (211, 2), (212, 5))
    await walk(client, (1, 50), dpu_id="423")
    await say(client, seq=8)
    found = await get(client, "/v1/dpus/283/status")
    seq = found["seq"]
    gaps = seq.pop("gaps")
    restarts = seq.pop("restarts")
    assert seq == {
        "stored": 7,
        "unnumbered": 0,
        "lowest": 1,
        "highest": 105,
        "missing": 1 + 4 + 2,
        "pending": 3,
        "gap_count": 3,
        "restart_count": 1,
        "out_of_order": 0,
    }
    assert [(gap["after_seq"], gap["before_seq"], gap["missing"]) for gap in gaps] == [
        (2, 5, 2),
        (100, 105, 4),
        (98, 100, 1),
    ]
    assert (gaps[1]["after_time"], gaps[1]["before_time"]) == (
        text(START + timedelta(minutes=2)),
        text(START + timedelta(minutes=200)),
    )
    assert [(one["after_seq"], one["before_seq"], one["missing"]) for one in restarts] == [(105, 1, 0)]
    last = found["last_event"]
    assert (last["timestamp"], last["direction"], last["seq"]) == (
        text(START + timedelta(minutes=212)),
        1,
        5,
    )
    assert abs(datetime.fromisoformat(last["received_at"]) - datetime.now(UTC)) < timedelta(minutes=5)


async def test_a_window_begins_where_one_says(client: Client) -> None:
    await walk(client, (0, 1), (1, 5), (120, 7))
    later = await get(client, "/v1/dpus/283/status", since=text(START + HOUR))
    assert later["since"] == text(START + HOUR)
    # the gap that ends in it
    assert (later["seq"]["stored"], later["seq"]["missing"], later["seq"]["pending"]) == (1, 1, None)
    earlier = await get(client, "/v1/dpus/283/status", since=text(START - HOUR))
    assert (earlier["seq"]["stored"], earlier["seq"]["missing"]) == (3, 4)


async def test_a_dpu_without_numbers(client: Client) -> None:
    await walk(client, (0, 0), (1, 0))
    await say(client)
    found = await get(client, "/v1/dpus/283/status")
    assert found["seq"] is None
    assert found["last_event"]["seq"] == 0


async def test_rejected_events_of_a_dpu(client: Client, connection: asyncpg.Connection) -> None:
    event = {"dpu_id": "283", "timestamp": text(START), "direction": 1}
    # no index holds that, and it cannot be compressed either
    long_id = {**event, "dpu_id": "283" + token_hex(5_000)}
    bad = [
        {**event, "direction": 5},
        {**event, "direction": 6},
        {**event, "timestamp": "2099-01-01T00:00:00Z"},
        {**event, "dpu_id": "424"},
        {"specversion": "1.0", "data": {**event, "direction": 7}},
        long_id,
        [283],
        283,
    ]
    answer = await client.post("/v1/events", json=bad)
    assert len(answer.json()["rejected"]) == len(bad), answer.text
    found = await get(client, "/v1/dpus/283/status")
    assert found["rejected"] == {"future_time": 1, "invalid_direction": 3}
    await connection.execute("UPDATE occupancy.rejected_event SET received_at = now() - INTERVAL '25 hours'")
    assert (await get(client, "/v1/dpus/283/status"))["rejected"] == {}
    hours = (await get(client, "/v1/dpus/283/reconciliation", **{"from": text(START)}))["hours"]
    assert [hour["rejected"] for hour in hours][:2] == [3, 0]


async def test_all_dpus_in_pages(client: Client) -> None:
    await walk(client, (0, 3), (9, 4))
    await say(client, "423", seq=9)
    items, pages = await all_items(client, "/v1/dpu-statuses", limit=2)
    assert pages == 2
    assert [item["dpu_id"] for item in items] == ["283", "423", "999"]
    first, second, third = items
    assert (first["last_event"]["seq"], first["last_heartbeat"]) == (4, None)
    assert (second["last_event"], second["last_heartbeat"]["seq"]) == (None, 9)
    assert second["heard_at"] == second["last_heartbeat"]["received_at"]
    assert -30 < second["clock_skew_seconds"] <= 0
    assert {name: value for name, value in third.items() if value is not None} == {"dpu_id": "999"}
    alone = await get(client, "/v1/dpus/283/status")
    assert {name: alone[name] for name in first} == first


async def test_the_silent_ones(
    client: Client, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await walk(client, (0, 1))
    await walk(client, ((NOW - START).total_seconds() / 60 - 10, 1), dpu_id="423")

    async def silent(**params: Any) -> list[str]:
        items, _ = await all_items(client, "/v1/dpu-statuses", **{"limit": 10, **params})
        return [item["dpu_id"] for item in items]

    assert await silent(silent_for="15m") == ["283", "999"]
    assert await silent(silent_for="1m") == ["283", "423", "999"]
    assert await silent(silent_for="2d") == ["999"]
    await say(client, "283")
    assert await silent(silent_for="15m") == ["999"]
    # A page looks at so many at most; those without a silent one are empty, and the list goes on.
    monkeypatch.setattr("occupancy.devices.status._LOOKED_AT", 1)
    items, pages = await all_items(client, "/v1/dpu-statuses", silent_for="15m", limit=1)
    assert ([item["dpu_id"] for item in items], pages) == (["999"], 4)


async def test_nothing_of_another_organization(client: Client, connection: asyncpg.Connection) -> None:
    other = await connection.fetchval(
        "INSERT INTO occupancy.organization (organization_id, name) VALUES ('other', '') RETURNING id"
    )
    try:
        await connection.execute(
            "INSERT INTO occupancy.dpu (organization, dpu_id, name) VALUES ($1, 'theirs', ''), ($1, '283', '')",
            other,
        )
        body = {"timestamp": text(datetime.now(UTC)), "dpu_id": "theirs"}
        answer = (await client.post("/v1/heartbeats", json=body)).json()
        assert answer["rejected"][0]["code"] == "unknown_dpu"
        await say(client, seq=4, sent=[sent(0, 1, 3)])
        kept = "SELECT array_agg(dpu.organization) FROM occupancy.{} AS kept JOIN occupancy.dpu ON dpu.id = kept.dpu"
        for table in ("heartbeat", "sent_report"):
            assert await connection.fetchval(kept.format(table)) == [1]
        assert (await client.get("/v1/dpus/theirs/status")).status_code == 404
        items, _ = await all_items(client, "/v1/dpu-statuses", limit=10)
        assert [item["dpu_id"] for item in items] == ["283", "423", "999"]
        await connection.execute(
            "INSERT INTO occupancy.rejected_event (organization, code, detail, payload) "
            "VALUES ($1, 'conflict', '', '{\"dpu_id\": \"283\"}')",
            other,
        )
        assert (await get(client, "/v1/dpus/283/status"))["rejected"] == {}
    finally:
        for table in ("rejected_event", "dpu"):
            await connection.execute(f"DELETE FROM occupancy.{table} WHERE organization = $1", other)
        await connection.execute("DELETE FROM occupancy.organization WHERE id = $1", other)


async def test_hours_against_what_the_device_says(client: Client) -> None:
    # hour 0: all are there; hour 1: one of three is missing; hour 2: nobody walked; hour 3: no word about it
    await walk(client, (1, 0), (30, 0), (70, 0), (190, 0))
    await walk(client, (40, 0), (71, 0), direction=-1)
    parts = [sent(0, 0.5, 1), sent(0.5, 0.5, 2), sent(1, 1, 3), sent(2, 1, 0)]
    await say(client, sent=[*parts, sent(0, 3, 6), sent(3, 0.25, 1), sent(3.25, 0.5, 0)])
    found = await get(
        client,
        "/v1/dpus/283/reconciliation",
        **{"from": text(START + HOUR / 3), "to": text(START + 3.5 * HOUR)},
    )
    assert (found["dpu_id"], found["from"], found["to"]) == ("283", text(START), text(START + 4 * HOUR))
    assert found["stored_since"] is None
    names = ("towards", "away", "stored", "reported", "missing", "matches")
    assert [tuple(hour[name] for name in names) for hour in found["hours"]] == [
        (2, 1, 3, 3, 0, True),
        (1, 1, 2, 3, 1, False),
        (0, 0, 0, 0, 0, True),
        (1, 0, 1, None, None, None),
    ]
    assert [hour["start"] for hour in found["hours"]] == [text(START + step * HOUR) for step in range(4)]
    assert all(
        (hour["seq_lowest"], hour["seq_missing"], hour["restarts"]) == (None, None, 0)
        for hour in found["hours"]
    )
    assert tuple(found["total"][name] for name in names) == (4, 2, 6, None, None, False)
    assert [tuple(report.values()) for report in found["other_reports"]] == [
        (text(START), text(START + 3 * HOUR), 6, 5, False),
        (text(START + 3 * HOUR), text(START + 3.25 * HOUR), 1, 1, True),
        (text(START + 3.25 * HOUR), text(START + 3.75 * HOUR), 0, 0, True),
    ]
    assert list(found["other_reports"][0]) == ["from", "to", "reported", "stored", "matches"]


async def test_hours_by_their_numbers(client: Client) -> None:
    # 3 is lost in hour 0, 5 and 6 between hours 0 and 1, none in hour 2, and of hour 3 nobody knows
    await walk(client, (-5, 1), (1, 2), (30, 4), (70, 7), (100, 8), (130, 9), (190, 10))
    found = await get(
        client, "/v1/dpus/283/reconciliation", **{"from": text(START), "to": text(START + 4 * HOUR)}
    )
    names = ("seq_lowest", "seq_highest", "seq_missing", "seq_missing_before", "missing", "matches")
    assert [tuple(hour[name] for name in names) for hour in found["hours"]] == [
        (2, 4, 1, 0, None, False),
        (7, 8, 0, 2, None, None),
        (9, 9, 0, 0, 0, True),
        (10, 10, 0, 0, None, None),
    ]
    assert [gap["missing"] for gap in found["gaps"]] == [2, 1]
    # A heartbeat says that nothing came after.
    await say(client, seq=10)
    again = await get(
        client, "/v1/dpus/283/reconciliation", **{"from": text(START), "to": text(START + 4 * HOUR)}
    )
    assert (again["hours"][3]["missing"], again["hours"][3]["matches"]) == (0, True)
    assert (again["total"]["missing"], again["total"]["matches"]) == (3, False)


async def test_what_waits_in_the_device_is_no_mismatch(client: Client) -> None:
    await walk(client, (1, 1), (2, 2))
    await say(client, seq=5, sent=[sent(0, 1, 5), sent(0, 0.5, 6)])
    params = {"from": text(START), "to": text(START + HOUR)}
    found = await get(client, "/v1/dpus/283/reconciliation", **params)
    for tally in (found["hours"][0], found["total"]):
        assert (tally["missing"], tally["pending"], tally["matches"]) == (3, 3, None)
    assert [report["matches"] for report in found["other_reports"]] == [False]
    # one of them comes, and is rejected: that does not come by itself
    bad = {"dpu_id": "283", "timestamp": text(START + timedelta(minutes=3)), "direction": 7, "seq": 3}
    assert (await client.post("/v1/events", json=bad)).json()["rejected"]
    tally = (await get(client, "/v1/dpus/283/reconciliation", **params))["hours"][0]
    assert (tally["missing"], tally["rejected"], tally["pending"], tally["matches"]) == (3, 1, 2, False)
    # the device sends the rest, but one
    await walk(client, (3, 3), (5, 5))
    tally = (await get(client, "/v1/dpus/283/reconciliation", **params))["hours"][0]
    assert (tally["missing"], tally["pending"], tally["matches"]) == (1, 0, False)
    await walk(client, (4, 4))
    tally = (await get(client, "/v1/dpus/283/reconciliation", **params))["hours"][0]
    assert (tally["missing"], tally["pending"], tally["matches"]) == (0, 0, True)


QUERIES = [
    ("/v1/dpus/283/status", {"since": "yesterday"}, "since"),
    ("/v1/dpus/283/status", {"since": "2099-01-01T00:00:00Z"}, "since"),
    ("/v1/dpus/283/status", {"since": "2015-01-01T00:00:00Z"}, "since"),
    ("/v1/dpu-statuses", {"silent_for": "15"}, "silent_for"),
    ("/v1/dpu-statuses", {"silent_for": "32d"}, "silent_for"),
    ("/v1/dpu-statuses", {"silent_for": "0m"}, "silent_for"),
    ("/v1/dpu-statuses", {"cursor": "?"}, "cursor"),
    ("/v1/dpus/283/reconciliation", {}, "from"),
    ("/v1/dpus/283/reconciliation", {"from": "2026"}, "from"),
    ("/v1/dpus/283/reconciliation", {"from": "2026-01-01T00:00:00Z", "to": "soon"}, "to"),
    (
        "/v1/dpus/283/reconciliation",
        {"from": "2026-01-01T00:00:00Z", "to": "2025-01-01T00:00:00Z"},
        "from",
    ),
    (
        "/v1/dpus/283/reconciliation",
        {"from": "2026-01-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
        "from",
    ),
]


@pytest.mark.parametrize(("path", "params", "field"), QUERIES)
async def test_a_bad_question_is_named(client: Client, path: str, params: dict[str, str], field: str) -> None:
    await refuse(client, path, params, 422, field)


@pytest.mark.parametrize(
    "path", ["status", "reconciliation?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"]
)
async def test_an_unknown_dpu_is_not_found(client: Client, path: str) -> None:
    answer = await client.get(f"/v1/dpus/nobody/{path}")
    assert (answer.status_code, answer.json()["field"]) == (404, "dpu_id")
