"""DPUs and their placements over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

Client = httpx.AsyncClient

JANUARY, FEBRUARY, MARCH, APRIL = (f"2025-0{month}-01T00:00:00Z" for month in range(1, 5))
PLACEMENTS = "/v1/dpus/283/placements"


@pytest.fixture(autouse=True)
async def layout(client: Client) -> None:
    for space_id in ("A", "B"):
        await client.put(f"/v1/spaces/{space_id}", json={})
    await client.put("/v1/doorways/X", json={"side_a": None, "side_b": "A"})
    await client.put("/v1/doorways/Z", json={"side_a": "A", "side_b": "B"})
    await client.put("/v1/dpus/283", json={})


async def hang(client: Client, doorway_id: str = "X", facing: str = "b", **times: Any) -> httpx.Response:
    times = {name.removesuffix("_"): value for name, value in times.items()}
    return await client.post(PLACEMENTS, json={"doorway_id": doorway_id, "facing": facing, **times})


async def spans(client: Client) -> list[tuple[str, str, str | None, str | None]]:
    items = (await client.get(PLACEMENTS)).json()["items"]
    return [(item["doorway_id"], item["facing"], item["from"], item["to"]) for item in items]


async def test_a_dpu_is_created_then_renamed(client: Client) -> None:
    created = await client.put("/v1/dpus/423", json={})
    assert created.status_code == 201
    assert created.json() == {"dpu_id": "423", "name": "423", "placement": None}
    renamed = await client.put("/v1/dpus/423", json={"name": "North"})
    assert renamed.status_code == 200
    assert renamed.json() == {"dpu_id": "423", "name": "North", "placement": None}
    assert (await client.get("/v1/dpus/423")).json() == renamed.json()
    assert (await client.put("/v1/dpus/423", json={"serial": "x"})).status_code == 422
    assert (await client.get("/v1/dpus/424")).status_code == 404


async def test_dpus_are_listed_in_pages_with_where_they_hang_now(client: Client) -> None:
    await client.put("/v1/dpus/423", json={})
    await hang(client, from_=None, to=JANUARY)
    now_at = (await hang(client, "Z", "a", from_=JANUARY)).json()
    first = (await client.get("/v1/dpus?limit=1")).json()
    assert first["items"] == [{"dpu_id": "283", "name": "283", "placement": now_at}]
    second = (await client.get("/v1/dpus", params={"limit": 1, "cursor": first["next"]})).json()
    assert second == {"items": [{"dpu_id": "423", "name": "423", "placement": None}], "next": None}
    assert (await client.get("/v1/dpus/283")).json()["placement"] == now_at


async def test_a_placement_begins_now_unless_said_otherwise(client: Client) -> None:
    answer = await hang(client)
    assert answer.status_code == 201
    placement = answer.json()
    assert placement["to"] is None
    assert placement["from"].endswith("Z")
    assert abs(datetime.fromisoformat(placement["from"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert isinstance(placement["placement_id"], int)


async def test_null_is_since_ever(client: Client, connection: asyncpg.Connection) -> None:
    assert (await hang(client, from_=None)).json()["from"] is None
    stored = await connection.fetchrow("SELECT valid_from::text, valid_to::text FROM occupancy.placement")
    assert tuple(stored or ()) == ("-infinity", "infinity")
    assert await spans(client) == [("X", "b", None, None)]


async def test_a_new_placement_ends_the_open_one(client: Client) -> None:
    await hang(client, from_=None)
    await hang(client, "Z", "a", from_="2025-02-01T01:00:00+01:00")
    assert await spans(client) == [("X", "b", None, FEBRUARY), ("Z", "a", FEBRUARY, None)]
    # one that itself ends as well: afterwards it hangs nowhere
    await hang(client, "X", "a", from_=MARCH, to=APRIL)
    assert (await spans(client))[1:] == [("Z", "a", FEBRUARY, MARCH), ("X", "a", MARCH, APRIL)]


async def test_a_past_placement_before_the_open_one_leaves_it_open(client: Client) -> None:
    await hang(client, from_=FEBRUARY)
    await hang(client, "Z", "a", from_=JANUARY, to=FEBRUARY)
    assert await spans(client) == [("Z", "a", JANUARY, FEBRUARY), ("X", "b", FEBRUARY, None)]


@pytest.mark.parametrize(
    "times",
    [
        {"from_": JANUARY},
        {"from_": None},
        {"from_": FEBRUARY},
        {"from_": None, "to": "2025-02-01T00:00:00.000001Z"},
    ],
)
async def test_a_placement_in_the_way_is_named(client: Client, times: dict[str, Any]) -> None:
    held = (await hang(client, from_=FEBRUARY)).json()
    answer = await hang(client, "Z", "a", **times)
    assert answer.status_code == 409
    assert answer.json()["field"] == "from"
    assert f"placement {held['placement_id']}" in answer.json()["detail"]
    assert await spans(client) == [("X", "b", FEBRUARY, None)]


async def test_a_placement_that_ends_first_is_refused_as_such_whatever_is_in_its_way(client: Client) -> None:
    await hang(client, from_=JANUARY, to=APRIL)
    answer = await hang(client, "Z", "a", from_=MARCH, to=FEBRUARY)
    assert answer.status_code == 422
    assert (answer.json()["field"], answer.json()["value"]) == ("to", f"{FEBRUARY}")


async def test_a_closed_placement_is_not_shortened(client: Client) -> None:
    await hang(client, from_=JANUARY, to=MARCH)
    assert (await hang(client, "Z", "a", from_=FEBRUARY)).status_code == 409
    assert (await hang(client, "Z", "a", from_=MARCH)).status_code == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"from": "2025-01-01T00:00:00"}, "from"),
        ({"from": "2025-01-01"}, "from"),
        ({"from": 1735689600}, "from"),
        ({"from": "1735689600"}, "from"),
        ({"from": "2025-02-30T00:00:00Z"}, "from"),
        ({"from": "0001-01-01T00:00:00Z"}, "from"),
        ({"from": "0001-01-01T00:00:00+01:00"}, "from"),
        ({"to": "10000-01-01T00:00:00Z"}, "to"),
        ({"to": "9999-12-31T23:59:59.999999Z"}, "to"),
        ({"from": JANUARY, "to": JANUARY}, "to"),
        ({"to": "2020-01-01T00:00:00Z"}, "to"),
        ({"facing": "c"}, "facing"),
        ({"facing": None}, "facing"),
        ({"doorway_id": "nobody"}, "doorway_id"),
        ({"valid_from": None}, "valid_from"),
        ({"since": None}, "since"),
    ],
)
async def test_a_bad_value_is_refused_by_name(client: Client, body: dict[str, Any], field: str) -> None:
    answer = await client.post(PLACEMENTS, json={"doorway_id": "X", "facing": "a", **body})
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert await spans(client) == []


async def test_a_past_placement_is_turned_round(client: Client, connection: asyncpg.Connection) -> None:
    past = (await hang(client, "X", "a", from_=None)).json()
    await hang(client, "Z", "a", from_=FEBRUARY)
    body = {"doorway_id": "X", "facing": "b", "from": None, "to": FEBRUARY}
    answer = await client.put(f"{PLACEMENTS}/{past['placement_id']}", json=body)
    assert answer.status_code == 200
    assert answer.json() == {"placement_id": past["placement_id"], **body}
    assert await spans(client) == [("X", "b", None, FEBRUARY), ("Z", "a", FEBRUARY, None)]
    signs = await connection.fetch(
        "SELECT space_id, sign, effect.valid_from::date::text "
        "FROM occupancy.effect JOIN occupancy.space ON space.id = effect.space ORDER BY space_id"
    )
    assert [tuple(row) for row in signs] == [("A", 1, "-infinity"), ("B", -1, "2025-02-01")]


async def test_a_correction_that_overlaps_another_placement_is_refused(client: Client) -> None:
    past = (await hang(client, from_=None)).json()
    await hang(client, "Z", "a", from_=FEBRUARY)
    path = f"{PLACEMENTS}/{past['placement_id']}"
    body = {"doorway_id": "X", "facing": "b", "from": JANUARY, "to": MARCH}
    overlapping = await client.put(path, json=body)
    assert overlapping.status_code == 409
    assert (overlapping.json()["field"], overlapping.json()["value"]) == ("from", f"{JANUARY}")
    assert (await client.put(path, json={**body, "to": JANUARY})).json()["field"] == "to"
    del body["to"]
    assert (await client.put(path, json=body)).json()["field"] == "to"


async def test_a_placement_is_removed(client: Client) -> None:
    held = (await hang(client, from_=None)).json()
    path = f"{PLACEMENTS}/{held['placement_id']}"
    assert (await client.delete(path)).status_code == 204
    assert await spans(client) == []
    assert (await client.delete(path)).status_code == 404


async def test_a_placement_is_found_under_its_own_dpu_only(client: Client) -> None:
    await client.put("/v1/dpus/423", json={})
    held = (await hang(client, from_=None)).json()
    body = {"doorway_id": "X", "facing": "b", "from": None, "to": None}
    path = f"/v1/dpus/423/placements/{held['placement_id']}"
    assert (await client.put(path, json=body)).status_code == 404
    assert (await client.delete(path)).status_code == 404
    assert (await client.delete(f"{PLACEMENTS}/{2**31}")).status_code == 422
    assert (await client.get("/v1/dpus/424/placements")).status_code == 404
    assert (await client.post("/v1/dpus/424/placements", json=body)).status_code == 404
