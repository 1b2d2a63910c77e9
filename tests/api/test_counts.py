"""GET /v1/spaces/{space_id}/count and GET /v1/counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from occupancy.database import Database
from occupancy.refresh import Refresher
from occupancy.settings import Settings


def at(minute: int) -> str:
    return f"2026-03-02T11:{minute:02}:00Z"


@pytest.fixture(autouse=True)
async def _house(client: httpx.AsyncClient) -> None:
    """A house with rooms A and B; two people walk into A, one goes on to B, one leaves."""
    await client.put("/v1/spaces/house", json={})
    for room in ("A", "B"):
        await client.put(f"/v1/spaces/{room}", json={"parent_id": "house"})
    await client.put("/v1/doorways/X", json={"side_a": "A", "side_b": None})
    await client.put("/v1/doorways/Z", json={"side_a": "A", "side_b": "B"})
    for dpu, doorway in (("283", "X"), ("423", "Z")):
        await client.put(f"/v1/dpus/{dpu}", json={})
        placement = {"doorway_id": doorway, "facing": "a", "from": None}
        await client.post(f"/v1/dpus/{dpu}/placements", json=placement)
    steps = [(1, "283", 1), (2, "283", 1), (20, "423", -1), (40, "283", -1)]
    events = [{"timestamp": at(minute), "dpu_id": dpu, "direction": way} for minute, dpu, way in steps]
    assert (await client.post("/v1/events", json=events)).json()["accepted"] == 4


async def count(client: httpx.AsyncClient, space: str, minute: int, **more: Any) -> dict[str, Any]:
    answer = await client.get(f"/v1/spaces/{space}/count", params={"at": at(minute), **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_count_says_what_it_rests_on(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    raw = await count(client, "A", 50)
    expected = {"space_id": "A", "at": at(50), "count": 0, "net": 0, "entries": 2, "exits": 2, "since": None}
    assert expected.items() <= raw.items()
    assert raw["last_crossing"] == at(40)
    assert (raw["aggregated_until"], raw["aggregated_crossings"], raw["tail_crossings"]) == (None, 0, 4)

    await Refresher(database, settings).run_once()
    refreshed = await count(client, "A", 50)
    assert expected.items() <= refreshed.items()
    assert (refreshed["aggregated_until"], refreshed["aggregated_crossings"]) == (at(50), 4)
    # 11:40 lies in a quarter of an hour that has not ended at 11:44
    before_the_end = await count(client, "A", 44)
    assert (before_the_end["aggregated_crossings"], before_the_end["tail_crossings"]) == (3, 1)


@pytest.mark.parametrize(("minute", "people"), [(0, 0), (1, 1), (2, 2), (19, 2), (20, 1), (39, 1), (40, 0)])
async def test_a_crossing_counts_from_its_own_instant_on(
    client: httpx.AsyncClient, minute: int, people: int
) -> None:
    assert (await count(client, "A", minute))["net"] == people


async def test_a_parent_counts_its_boundary_only(client: httpx.AsyncClient) -> None:
    house = await count(client, "house", 50)
    assert (house["net"], house["entries"], house["exits"]) == (1, 2, 1)


async def test_a_negative_net_is_shown_but_not_as_a_count(client: httpx.AsyncClient) -> None:
    steps = [{"timestamp": at(minute), "dpu_id": "283", "direction": -1} for minute in (51, 52)]
    await client.post("/v1/events", json=steps)
    answer = await count(client, "A", 55)
    assert (answer["net"], answer["count"]) == (-2, 0)


async def test_a_reset_starts_anew(client: httpx.AsyncClient) -> None:
    await client.post("/v1/spaces/A/resets", json={"at": at(20), "count": 5})
    answer = await count(client, "A", 50)
    # the crossing at 11:20 itself was before the statement
    assert (answer["net"], answer["entries"], answer["exits"], answer["since"]) == (4, 0, 1, at(20))


async def test_without_at_it_is_now(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/v1/spaces/B/count")).json()
    assert answer["net"] == 1
    assert datetime.now(UTC) - datetime.fromisoformat(answer["at"]) < timedelta(minutes=1)


async def test_times_are_given_in_the_zone_asked_for(client: httpx.AsyncClient) -> None:
    answer = await count(client, "A", 50, tz="Asia/Kolkata")
    assert answer["at"] == "2026-03-02T17:20:00+05:30"
    assert answer["last_crossing"] == "2026-03-02T17:10:00+05:30"


async def test_an_offset_need_not_be_escaped(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/spaces/A/count?at=2026-03-02T12:50:00+01:00")
    assert answer.json()["at"] == at(50)


async def test_many_spaces_are_answered_in_the_order_asked_for(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/v1/counts", params={"space_id": "B,house,A", "at": at(50)})).json()
    assert [(item["space_id"], item["net"]) for item in answer["items"]] == [("B", 1), ("house", 1), ("A", 0)]
    assert answer["next"] is None


async def test_the_children_of_a_space(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/v1/counts", params={"parent_id": "house", "at": at(50)})).json()
    assert [item["space_id"] for item in answer["items"]] == ["A", "B"]


async def test_all_spaces_come_page_by_page(client: httpx.AsyncClient) -> None:
    found, cursor = [], None
    for _ in range(3):
        params: dict[str, str | int] = {"at": at(50), "limit": 1}
        if cursor:
            params["cursor"] = cursor
        answer = (await client.get("/v1/counts", params=params)).json()
        found += [item["space_id"] for item in answer["items"]]
        cursor = answer["next"]
    assert found == ["A", "B", "house"]
    assert cursor is None


@pytest.mark.parametrize(
    ("path", "params", "status", "field"),
    [
        ("/v1/spaces/nowhere/count", {}, 404, "space_id"),
        ("/v1/spaces/A/count", {"at": "2026-03-02"}, 422, "at"),
        ("/v1/spaces/A/count", {"at": "2026-03-02T11:00:00"}, 422, "at"),
        ("/v1/spaces/A/count", {"at": "9999-01-01T00:00:00Z"}, 422, "at"),
        ("/v1/spaces/A/count", {"at": "0001-01-01T00:30:00Z"}, 422, "at"),
        ("/v1/spaces/%00/count", {}, 422, "space_id"),
        ("/v1/counts", {"space_id": "\x00"}, 422, "space_id"),
        ("/v1/counts", {"parent_id": "\x00"}, 422, "parent_id"),
        ("/v1/spaces/A/count", {"tz": "Mars/Olympus"}, 422, "tz"),
        ("/v1/spaces/A/count", {"tz": "../etc/passwd"}, 422, "tz"),
        ("/v1/counts", {"space_id": "A,nowhere"}, 422, "space_id"),
        ("/v1/counts", {"space_id": ","}, 422, "space_id"),
        ("/v1/counts", {"space_id": "A", "parent_id": "house"}, 422, "parent_id"),
        ("/v1/counts", {"parent_id": "nowhere"}, 422, "parent_id"),
        ("/v1/counts", {"limit": "0"}, 422, "limit"),
        ("/v1/counts", {"cursor": "!"}, 422, "cursor"),
    ],
)
async def test_a_bad_question_names_the_field(
    client: httpx.AsyncClient, path: str, params: dict[str, str], status: int, field: str
) -> None:
    answer = await client.get(path, params=params)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["field"] == field
    assert problem["type"].startswith("urn:occupancy:problem:")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/spaces/A/count?att=2026-03-02T15:34:00Z", "att"),
        ("/v1/counts?at=2026-03-02T15:34:00Z&tzz=UTC", "tzz"),
        ("/v1/spaces/A/profile?start=2026-03-02T00:00:00Z&format=csv", "format"),
    ],
)
async def test_a_parameter_that_there_is_not_is_refused(
    client: httpx.AsyncClient, path: str, name: str
) -> None:
    answer = await client.get(path)
    assert answer.status_code == 422
    assert answer.json()["field"] == name
    assert "there is no parameter" in answer.json()["detail"]
