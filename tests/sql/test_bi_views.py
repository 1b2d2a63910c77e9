"""The views of schema bi, its functions and HTTP give one and the same answer, in every column.

In a tail that is not materialized, with late events that are not repaired yet, a reset inside a bucket, a day on which
clocks change, a daily reset, and a space without a capacity.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx
import pytest

from occupancy.database import Database
from occupancy.refresh import Refresher
from occupancy.settings import Settings

BERLIN = ZoneInfo("Europe/Berlin")
# Clocks went back an hour in Berlin.
LONG_DAY = datetime(2026, 10, 25, tzinfo=BERLIN)
SPACES = ("building", "hall", "office")
INTERVALS = {"15m": "15m", "1h": "1h", "1d": "1d", "1mo": "1mo"}
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
async def _building(client: httpx.AsyncClient, database: Database, settings: Settings) -> None:
    """A building with a hall, which has no capacity, and an office of another time zone with a daily reset."""
    await client.put(
        "/v1/spaces/building", json={"time_zone": "Europe/Berlin", "capacity": 40, "name": "Building"}
    )
    await client.put(
        "/v1/spaces/hall", json={"parent_id": "building", "time_zone": "Europe/Berlin", "kind": "room"}
    )
    office = {"parent_id": "building", "time_zone": "America/St_Johns", "capacity": 0, "reset_at": "04:00:00"}
    await client.put("/v1/spaces/office", json=office)
    await client.put("/v1/doorways/front", json={"side_a": "hall", "side_b": None, "name": "Front"})
    await client.put("/v1/doorways/inner", json={"side_a": "office", "side_b": "hall"})
    for dpu, doorway in (("d1", "front"), ("d2", "inner")):
        await client.put(f"/v1/dpus/{dpu}", json={})
        placement = {"doorway_id": doorway, "facing": "a", "from": None}
        await client.post(f"/v1/dpus/{dpu}/placements", json=placement)
    midnight = LONG_DAY.astimezone(UTC)
    await send(client, "d1", [midnight + timedelta(minutes=17 * step) for step in range(-90, 180)], 7)
    await send(client, "d2", [midnight + timedelta(minutes=29 * step) for step in range(-60, 120)], 5)
    reset = {"at": (midnight + timedelta(hours=13, minutes=7)).isoformat(), "count": 3, "reason": "counted"}
    assert (await client.post("/v1/spaces/building/resets", json=reset)).status_code == 201
    await Refresher(database, settings).run_once()
    # late: no longer in what is materialized; and a tail that is not yet
    await send(client, "d1", [midnight + timedelta(hours=5, seconds=step) for step in range(9)], 1)
    await send(client, "d1", [NOW - timedelta(minutes=3 * step + 1) for step in range(40)], 3)


async def send(client: httpx.AsyncClient, dpu: str, times: list[datetime], one_in: int) -> None:
    """Every so many of them walk out, the others in."""
    events = [
        {"dpu_id": dpu, "timestamp": time.isoformat(), "direction": -1 if number % one_in == 2 else 1}
        for number, time in enumerate(times)
    ]
    answer = await client.post("/v1/events", json=events)
    assert answer.json()["accepted"] == len(events), answer.text


async def over_http(
    client: httpx.AsyncClient, space: str, interval: str, start: datetime, end: datetime
) -> list[dict[str, Any]]:
    answer = await client.get(
        f"/v1/spaces/{space}/series",
        params={"start": start.isoformat(), "end": end.isoformat(), "interval": interval, "limit": 10_000},
    )
    assert answer.status_code == 200, answer.text
    rows = []
    for item in answer.json()["items"]:
        times = {f"bucket_{name}": datetime.fromisoformat(item.pop(name)) for name in ("start", "end")}
        rows.append({**times, **item})
    return rows


def same(rows: list[dict[str, Any]], others: list[dict[str, Any]], *, left_out: tuple[str, ...] = ()) -> None:
    assert rows
    assert len(rows) == len(others)
    for row, other in zip(rows, others, strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            if name not in left_out:
                expected = pytest.approx(other[name]) if isinstance(value, float) else other[name]
                assert value == expected, (name, row, other)


async def test_a_view_holds_every_column_of_the_series(connection: asyncpg.Connection) -> None:
    columns = await connection.fetch(
        "SELECT table_name AS view, array_agg(column_name::text ORDER BY ordinal_position) AS names "
        "FROM information_schema.columns WHERE table_schema = 'bi' AND table_name LIKE 'occupancy%' GROUP BY 1"
    )
    of_series = (
        await connection.fetchval("SELECT proargnames FROM pg_proc WHERE oid = 'occupancy.series'::regproc")
    )[6:]
    assert {row["view"] for row in columns} == {f"occupancy_{width}" for width in INTERVALS}
    for row in columns:
        assert [name for name in row["names"] if name not in ("space_id", "local_start")] == of_series[1:]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("width", INTERVALS)
async def test_view_function_and_http_agree(
    client: httpx.AsyncClient, connection: asyncpg.Connection, space: str, width: str
) -> None:
    zone = ZoneInfo("America/St_Johns") if space == "office" else BERLIN
    start = (LONG_DAY - timedelta(hours=1)).astimezone(UTC)
    end = LONG_DAY.astimezone(UTC) + timedelta(hours=26)
    if width == "1d":
        start, end = start - timedelta(days=1), end + timedelta(days=2)
    elif width == "1mo":
        start, end = datetime(2026, 10, 1, 12, tzinfo=UTC), datetime(2026, 10, 20, tzinfo=UTC)
    asked = await over_http(client, space, width, start, end)
    first, last = asked[0]["bucket_start"], asked[-1]["bucket_start"]

    seen = [
        dict(row)
        for row in await connection.fetch(
            f"SELECT * FROM bi.occupancy_{width} WHERE space_id = $1 AND bucket_start BETWEEN $2 AND $3 "
            "ORDER BY bucket_start",
            space,
            first,
            last,
        )
    ]
    for row in seen:
        assert row.pop("space_id") == space
        assert row.pop("local_start") == row["bucket_start"].astimezone(zone).replace(tzinfo=None)
    same(seen, asked)

    interval = {"15m": "15 minutes", "1h": "1 hour", "1d": "1 day", "1mo": "1 month"}[width]
    called = await connection.fetch(
        "SELECT * FROM bi.series($1, $2, $3, $4::text::interval)", space, start, end, interval
    )
    same([dict(row) for row in called], asked)
    of_all = await connection.fetch(
        "SELECT * FROM bi.series_of_all($1, $2, $3::text::interval) WHERE space_id = $4",
        start,
        end,
        interval,
        space,
    )
    same([{name: value for name, value in row.items() if name != "space_id"} for row in of_all], asked)

    lasted = [row["bucket_end"] - row["bucket_start"] for row in seen]
    if width == "1d":
        assert (timedelta(hours=25) in lasted) is (space != "office")
    for row in seen:
        assert (row["utilization"] is None) is (space != "building")


@pytest.mark.parametrize("width", INTERVALS)
async def test_the_tail_is_in_the_views(
    client: httpx.AsyncClient, connection: asyncpg.Connection, width: str
) -> None:
    view = [
        dict(row)
        for row in await connection.fetch(
            f"SELECT * FROM bi.occupancy_{width} WHERE space_id = 'building' AND bucket_start >= $1 ORDER BY 2",
            NOW - timedelta(hours=2),
        )
    ] or [
        dict(row)
        for row in await connection.fetch(
            f"SELECT * FROM bi.occupancy_{width} WHERE space_id = 'building' AND bucket_end > $1 ORDER BY 2",
            NOW,
        )
    ]
    asked = await over_http(client, "building", width, view[0]["bucket_start"], datetime.now(UTC))
    for row in view:
        del row["space_id"], row["local_start"]
    assert sum(row["entries"] for row in view) > 5
    # what hangs on the moment at which it was asked
    same(view, asked[: len(view)], left_out=("seconds", "mean", "utilization"))
    assert view[-1]["bucket_end"] > NOW


async def test_the_views_begin_with_the_first_stored_data(connection: asyncpg.Connection) -> None:
    first = LONG_DAY.astimezone(UTC) - timedelta(minutes=17 * 90)
    for width in ("1d", "1mo"):
        starts = await connection.fetchrow(
            f"SELECT min(bucket_start) AS start, min(bucket_end) AS until FROM bi.occupancy_{width} "
            "WHERE space_id = 'building'"
        )
        assert starts is not None
        assert starts["start"] <= first < starts["until"]


async def test_now_and_then(client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
    current = {
        row["space_id"]: dict(row) for row in await connection.fetch("SELECT * FROM bi.current_counts")
    }
    assert set(current) == set(SPACES)
    for space, row in current.items():
        answer = (await client.get(f"/v1/spaces/{space}/count", params={"at": row["at"].isoformat()})).json()
        assert (row["count"], row["net"]) == (answer["count"], answer["net"])
        for name in ("since", "last_crossing"):
            expected = answer[name] and datetime.fromisoformat(answer[name])
            assert row[name] == expected, name
        assert row["utilization"] == (pytest.approx(row["count"] / 40) if space == "building" else None)
    at = LONG_DAY.astimezone(UTC) + timedelta(hours=5, seconds=4)
    then = {
        row["space_id"]: dict(row) for row in await connection.fetch("SELECT * FROM bi.counts_at($1)", at)
    }
    for space, row in then.items():
        answer = (await client.get(f"/v1/spaces/{space}/count", params={"at": at.isoformat()})).json()
        assert await connection.fetchval("SELECT bi.count_at($1, $2)", space, at) == answer["count"]
        assert {name: row[name] for name in ("count", "net", "entries", "exits")} == {
            name: answer[name] for name in ("count", "net", "entries", "exits")
        }


async def test_what_people_declared(connection: asyncpg.Connection) -> None:
    assert [
        tuple(row)
        for row in await connection.fetch(
            "SELECT space_id, kind, parent_id, path, path_ids, depth, capacity, reset_at::text FROM bi.spaces "
            "ORDER BY depth, space_id"
        )
    ] == [
        ("building", "space", None, "Building", ["building"], 0, 40, None),
        ("hall", "room", "building", "Building / hall", ["building", "hall"], 1, None, None),
        ("office", "space", "building", "Building / office", ["building", "office"], 1, 0, "04:00:00"),
    ]
    assert [tuple(row) for row in await connection.fetch("SELECT * FROM bi.doorways ORDER BY 1")] == [
        ("front", "Front", "hall", None),
        ("inner", "inner", "office", "hall"),
    ]
    assert [tuple(row) for row in await connection.fetch("SELECT * FROM bi.placements ORDER BY 1")] == [
        ("d1", "front", "a", None, None),
        ("d2", "inner", "a", None, None),
    ]
    reset = await connection.fetchrow("SELECT * FROM bi.resets")
    assert reset is not None
    assert (reset["space_id"], reset["count"], reset["reason"]) == ("building", 3, "counted")


async def test_single_events_and_the_health_of_sensors(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    ahead = (datetime.now(UTC) + timedelta(seconds=90)).isoformat()
    assert (await client.post("/v1/dpus/d1/heartbeat", json={"timestamp": ahead})).json()["accepted"] == 1
    late = await connection.fetch(
        'SELECT * FROM bi.crossings WHERE dpu_id = $1 AND "timestamp" > $2 ORDER BY 3',
        "d1",
        NOW - timedelta(days=1),
    )
    assert len(late) == 40
    assert {row["doorway_id"] for row in late} == {"front"}
    health = {row["dpu_id"]: row for row in await connection.fetch("SELECT * FROM bi.dpu_health")}
    d1, d2 = health["d1"], health["d2"]
    assert d1["last_crossing"] == max(row["timestamp"] for row in late)
    assert (d1["doorway_id"], d1["crossings_24h"]) == ("front", 40)
    assert 18 <= d1["crossings_1h"] <= 20
    assert (d1["towards_24h"], d1["away_24h"]) == (27, 13)
    assert (d2["crossings_24h"], d2["crossings_1h"], d2["away_24h"]) == (0, 0, 0)
    assert d2["seconds_since"] > 86400
    assert abs(d1["last_heartbeat"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert 80 < d1["clock_skew_seconds"] <= 90
    assert (d2["last_heartbeat"], d2["clock_skew_seconds"]) == (None, None)


async def test_a_session_s_time_zone_changes_nothing(connection: asyncpg.Connection) -> None:
    questions = (
        "SELECT * FROM bi.occupancy_1d WHERE space_id = 'building' AND bucket_start < '2026-11-01 00:00+00'",
        "SELECT * FROM bi.series('hall', '2026-10-24 22:00+00', '2026-10-26 23:00+00', '1 day')",
        "SELECT * FROM bi.profile('building', '2026-10-24 22:00+00', '2026-10-25 23:00+00')",
        "SELECT * FROM bi.top('2026-10-24 22:00+00', '2026-10-25 23:00+00', 'entries')",
        "SELECT * FROM bi.entries_by_doorway('building', '2026-10-24 22:00+00', '2026-10-25 23:00+00')",
    )
    answers = []
    for zone in ("UTC", "America/St_Johns", "Pacific/Apia"):
        await connection.execute(f"SET TimeZone = '{zone}'")
        answers.append([await connection.fetch(question) for question in questions])
    await connection.execute("RESET TimeZone")
    assert all(answers[0])
    assert answers[0] == answers[1] == answers[2]


async def test_the_spaces_that_led(connection: asyncpg.Connection) -> None:
    led = await connection.fetch(
        "SELECT * FROM bi.top('2026-10-24 22:00+00', '2026-10-25 23:00+00', 'entries', 2)"
    )
    assert [row["place"] for row in led] == [1, 2]
    assert led[0]["entries"] >= led[1]["entries"] > 0
    assert led[0]["entries"] == await connection.fetchval(
        "SELECT sum(entries) FROM bi.series($1, '2026-10-24 22:00+00', '2026-10-25 23:00+00', '1 day')",
        led[0]["space_id"],
    )
    used = await connection.fetch(
        "SELECT * FROM bi.top('2026-10-24 22:00+00', '2026-10-25 23:00+00', 'peak_utilization')"
    )
    assert [row["space_id"] for row in used] == ["building"]
    with pytest.raises(asyncpg.InvalidParameterValueError, match="'size'"):
        await connection.fetch("SELECT * FROM bi.top(now(), now(), 'size')")


# What one pays for: a filter cuts the grid, and the grid is made once.


async def test_only_what_is_asked_for_is_computed(connection: asyncpg.Connection) -> None:
    await connection.execute("ANALYZE occupancy.space")
    plan = "\n".join(
        row[0]
        for row in await connection.fetch(
            "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT * FROM bi.occupancy_15m "
            "WHERE space_id = 'hall' AND bucket_start >= '2026-10-25 00:00+00' AND bucket_start < '2026-10-25 00:30+00'"
        )
    )
    bucket_of = next(line for line in plan.splitlines() if "bucket_of" in line)
    assert "loops=2" in bucket_of, plan
    grid = next(line for line in plan.splitlines() if "Function Scan on grid" in line)
    assert "loops=1" in grid, plan
    assert "Filter: ((bucket_start" in plan


async def test_the_grid_is_made_once_for_all_spaces(connection: asyncpg.Connection) -> None:
    await connection.execute(
        "INSERT INTO occupancy.space (organization, space_id, name, time_zone) "
        "SELECT 1, 'more-' || number, '', 'Europe/Berlin' FROM generate_series(1, 300) AS number"
    )
    await connection.execute("ANALYZE occupancy.space")
    plan = "\n".join(
        row[0]
        for row in await connection.fetch(
            "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT * FROM bi.occupancy_15m "
            "WHERE bucket_start = '2026-10-25 00:00+00'"
        )
    )
    grid = next(line for line in plan.splitlines() if "Function Scan on grid" in line)
    assert "loops=1" in grid, plan
    # All but the office, which is in another zone, half an hour off.
    bucket_of = next(line for line in plan.splitlines() if "bucket_of" in line)
    assert "loops=303" in bucket_of, plan


async def test_the_health_of_a_sensor_scans_no_chunk(connection: asyncpg.Connection) -> None:
    await connection.execute(
        "INSERT INTO occupancy.crossing (time, dpu, seq, direction) "
        "SELECT now() - INTERVAL '1 minute' * number, dpu.id, 9, 1 "
        "FROM occupancy.dpu, generate_series(1, 5000) AS number"
    )
    await connection.execute("ANALYZE")
    plan = "\n".join(
        row[0] for row in await connection.fetch("EXPLAIN (COSTS OFF) SELECT * FROM bi.dpu_health")
    )
    assert "crossing_is_stored_once" in plan
    assert "Seq Scan on _hyper" not in plan, plan
