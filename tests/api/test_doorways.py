"""Doorways over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

Client = httpx.AsyncClient


@pytest.fixture(autouse=True)
async def spaces(client: Client) -> None:
    for space_id in ("A", "B"):
        await client.put(f"/v1/spaces/{space_id}", json={})


async def put(client: Client, doorway_id: str, **body: Any) -> httpx.Response:
    return await client.put(f"/v1/doorways/{doorway_id}", json=body)


async def test_a_doorway_is_created_then_replaced(client: Client) -> None:
    created = await put(client, "Z", side_a="A", side_b="B")
    assert created.status_code == 201
    assert created.json() == {"doorway_id": "Z", "name": "Z", "side_a": "A", "side_b": "B"}
    replaced = await put(client, "Z", name="Main door", side_a=None, side_b="A")
    assert replaced.status_code == 200
    assert replaced.json() == {"doorway_id": "Z", "name": "Main door", "side_a": None, "side_b": "A"}
    assert (await client.get("/v1/doorways/Z")).json() == replaced.json()
    assert (await client.get("/v1/doorways")).json() == {"items": [replaced.json()], "next": None}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"side_a": "A", "side_b": "nobody"}, "side_b"),
        ({"side_a": "nobody", "side_b": "B"}, "side_a"),
        ({"side_a": "A", "side_b": "A"}, "side_b"),
        ({"side_a": None, "side_b": None}, "side_b"),
        ({"side_a": "A"}, "side_b"),
        ({"side_b": "A"}, "side_a"),
        ({"side_a": "A", "side_b": None, "sideB": "B"}, "sideB"),
        ({"side_a": "\0", "side_b": None}, "side_a"),
    ],
)
async def test_bad_sides_are_refused_by_name(client: Client, body: dict[str, Any], field: str) -> None:
    answer = await put(client, "Z", **body)
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert (await client.get("/v1/doorways/Z")).status_code == 404


async def test_doorways_are_listed_in_pages(client: Client) -> None:
    for doorway_id in ("Y", "X", "Z"):
        await put(client, doorway_id, side_a="A", side_b=None)
    first = (await client.get("/v1/doorways?limit=2")).json()
    assert [doorway["doorway_id"] for doorway in first["items"]] == ["X", "Y"]
    second = (await client.get("/v1/doorways", params={"limit": 2, "cursor": first["next"]})).json()
    assert [doorway["doorway_id"] for doorway in second["items"]] == ["Z"]
    assert second["next"] is None


async def test_a_doorway_is_deleted(client: Client) -> None:
    await put(client, "Z", side_a="A", side_b=None)
    assert (await client.delete("/v1/doorways/Z")).status_code == 204
    assert (await client.delete("/v1/doorways/Z")).status_code == 404


async def test_a_doorway_with_a_past_placement_stays(client: Client) -> None:
    await put(client, "Z", side_a="A", side_b=None)
    await client.put("/v1/dpus/283", json={})
    past = {"doorway_id": "Z", "facing": "a", "from": None, "to": "2020-01-01T00:00:00Z"}
    await client.post("/v1/dpus/283/placements", json=past)
    answer = await client.delete("/v1/doorways/Z")
    assert answer.status_code == 409
    assert (answer.json()["field"], answer.json()["value"]) == ("doorway_id", "Z")
