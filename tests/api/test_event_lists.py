"""GET /v1/spaces/{space_id}/events and GET /v1/dpus/{dpu_id}/events."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api import house
from tests.api.house import all_items, get, refuse

A = "/v1/spaces/A/events"
DAY = {"start": "2026-03-02T00:00:00Z", "end": "2026-03-03T00:00:00Z"}


def at(minute: int) -> str:
    return f"2026-03-02T11:{minute:02}:00Z"


@pytest.fixture(autouse=True)
async def _house(client: httpx.AsyncClient) -> None:
    """Two DPUs that report at the same instants, one of them twice; the other is moved at 11:30, and away at 11:50."""
    await house.build(client)
    await house.place(client, "423", doorway_id="X", facing="b", **{"from": at(30)})
    placements = (await client.get("/v1/dpus/423/placements")).json()["items"]
    moved = placements[-1]["placement_id"]
    ended = {"doorway_id": "X", "facing": "b", "from": at(30), "to": at(50)}
    assert (await client.put(f"/v1/dpus/423/placements/{moved}", json=ended)).status_code == 200
    await house.walk(
        client,
        (at(10), "423", -1),
        (at(10), "283", 1),
        (at(10), "283", 1),
        (at(20), "283", -1),
        (at(30), "423", -1),
        (at(40), "423", 1),
        (at(50), "423", 1),
    )


def shown(items: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    names = ("timestamp", "dpu_id", "doorway_id", "direction", "effect", "seq")
    return [tuple(item[name] for name in names if name in item) for item in items]


async def test_a_space_is_told_what_touched_it_where_the_dpu_hung_then(client: httpx.AsyncClient) -> None:
    answer = await get(client, A, **DAY)
    assert shown(answer["items"]) == [
        (at(10), "283", "X", 1, 1, 1),
        (at(10), "283", "X", 1, 1, 2),
        (at(10), "423", "Z", -1, -1, 0),
        (at(20), "283", "X", -1, -1, 3),
        # it now hangs outside of X: away from it is into A
        (at(30), "423", "X", -1, 1, 4),
        (at(40), "423", "X", 1, -1, 5),
    ]
    assert answer["next"] is None
    assert all(item["received_at"] > at(59) for item in answer["items"])


async def test_a_room_behind_hears_only_of_its_own_door(client: httpx.AsyncClient) -> None:
    answer = await get(client, "/v1/spaces/B/events", **DAY)
    assert shown(answer["items"]) == [(at(10), "423", "Z", -1, 1, 0)]


async def test_a_dpu_tells_all_that_it_saw(client: httpx.AsyncClient) -> None:
    answer = await get(client, "/v1/dpus/423/events", **DAY)
    assert shown(answer["items"]) == [
        (at(10), "423", "Z", -1, 0),
        (at(30), "423", "X", -1, 4),
        (at(40), "423", "X", 1, 5),
        (at(50), "423", None, 1, 6),
    ]


@pytest.mark.parametrize("path", [A, "/v1/dpus/283/events"])
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_all_pages_together_are_one_large_page(
    client: httpx.AsyncClient, path: str, order: str
) -> None:
    oldest_first = (await get(client, path, **DAY))["items"]
    whole = await get(client, path, **DAY, order=order)
    assert whole["items"] == (oldest_first if order == "asc" else oldest_first[::-1])
    for limit in (1, 2, 4):
        items, pages = await all_items(client, path, **DAY, order=order, limit=limit)
        assert items == whole["items"]
        assert pages == -(-len(items) // limit)


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_events_far_apart_are_found_from_both_ends(client: httpx.AsyncClient, order: str) -> None:
    await house.walk(client, ("2025-02-01T00:00:00Z", "283", 1))
    answer = await get(client, A, start="1990-01-01T00:00:00Z", order=order)
    times = [item["timestamp"] for item in answer["items"]]
    assert len(times) == 7
    assert times == sorted(times, reverse=order == "desc")


async def test_the_start_is_in_the_range_and_the_end_is_not(client: httpx.AsyncClient) -> None:
    answer = await get(client, A, start=at(20), end=at(30))
    assert [item["timestamp"] for item in answer["items"]] == [at(20)]


async def test_times_are_given_in_the_zone_asked_for(client: httpx.AsyncClient) -> None:
    answer = await get(client, A, start=at(20), end=at(30), tz="Asia/Kolkata")
    assert answer["items"][0]["timestamp"] == "2026-03-02T16:50:00+05:30"


BAD: list[tuple[str, dict[str, str], int, str]] = [
    ("/v1/spaces/nowhere/events", DAY, 404, "space_id"),
    ("/v1/dpus/none/events", DAY, 404, "dpu_id"),
    (A, {}, 422, "start"),
    (A, {"start": "9000-01-01T00:00:00Z"}, 422, "start"),
    (A, {"start": at(2), "end": at(1)}, 422, "start"),
    (A, {"start": at(2), "end": "soon"}, 422, "end"),
    (A, {**DAY, "order": "down"}, 422, "order"),
    (A, {**DAY, "tz": "Mars/Olympus"}, 422, "tz"),
    (A, {**DAY, "limit": "1001"}, 422, "limit"),
    (A, {**DAY, "cursor": "!"}, 422, "cursor"),
    (A, {**DAY, "cursor": "QQ"}, 422, "cursor"),
    (A, {**DAY, "format": "xml"}, 422, "format"),
]


async def test_a_bad_question_names_the_field_and_the_value(client: httpx.AsyncClient) -> None:
    for path, params, status, field in BAD:
        await refuse(client, path, params, status, field)
