"""The tree of spaces over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

Client = httpx.AsyncClient


async def put(client: Client, space_id: str, **body: Any) -> httpx.Response:
    return await client.put(f"/v1/spaces/{space_id}", json=body)


async def test_a_space_is_created_with_the_usual_values_then_replaced(client: Client) -> None:
    created = await put(client, "A")
    assert created.status_code == 201
    assert created.json() == {
        "space_id": "A",
        "name": "A",
        "parent_id": None,
        "kind": "space",
        "time_zone": "UTC",
        "capacity": None,
        "reset_at": None,
    }
    given = {
        "name": "Lobby",
        "kind": "room",
        "parent_id": None,
        "time_zone": "Europe/Berlin",
        "capacity": 12,
        "reset_at": "04:30",
    }
    replaced = await put(client, "A", **given)
    assert replaced.status_code == 200
    assert replaced.json() == {"space_id": "A", **given}
    assert (await client.get("/v1/spaces/A")).json() == replaced.json()
    assert (await put(client, "A")).json() == created.json()


async def test_a_space_takes_the_time_zone_of_its_parent(client: Client) -> None:
    await put(client, "A", time_zone="Asia/Tokyo")
    inside = await put(client, "B", parent_id="A")
    assert inside.json()["time_zone"] == "Asia/Tokyo"
    assert (await client.get("/v1/spaces/B")).json()["parent_id"] == "A"


async def test_any_characters_but_slashes_and_control_characters_make_an_id(client: Client) -> None:
    path = "/v1/spaces/%3F%23%25%20%C3%A9%F0%9F%9A%AA%C2%AD"
    created = await client.put(path, json={})
    assert created.json()["space_id"] == "?#% é🚪\u00ad"
    assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("reset_at", ["04:30", "23:59:59", None])
async def test_a_daily_reset_is_answered_as_it_was_given(client: Client, reset_at: str | None) -> None:
    assert (await put(client, "A", reset_at=reset_at)).json()["reset_at"] == reset_at


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a\0b"),
        ("name", ""),
        ("name", "n" * 201),
        ("name", 5),
        ("kind", "k" * 201),
        ("kind", None),
        ("parent_id", "nobody"),
        ("parent_id", "a/b"),
        ("parent_id", "A"),
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "europe/berlin"),
        ("capacity", 2**31),
        ("capacity", -1),
        ("capacity", True),
        ("capacity", "7"),
        ("reset_at", "24:00"),
        ("reset_at", "4:00"),
        ("reset_at", "04:00Z"),
        ("reset_at", 240),
        ("colour", "red"),
    ],
)
async def test_a_bad_value_is_refused_by_name(client: Client, field: str, value: Any) -> None:
    answer = await put(client, "A", **{field: value})
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert (await client.get("/v1/spaces/A")).status_code == 404


@pytest.mark.parametrize("body", ['{"name": "\\ud800"}', '{"name": "\\u0000"}', "[]", "null", "{"])
async def test_a_bad_body_is_refused(client: Client, body: str) -> None:
    answer = await client.put("/v1/spaces/A", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422


@pytest.mark.parametrize("space_id", ["%00", "a%0Ab", "a" * 201, "%7F", "%C2%85"])
async def test_a_bad_id_is_refused(client: Client, space_id: str) -> None:
    for answer in (
        await client.put(f"/v1/spaces/{space_id}", json={}),
        await client.get(f"/v1/spaces/{space_id}"),
    ):
        assert answer.status_code == 422
        assert answer.json()["field"] == "space_id"


async def test_what_is_not_there_is_not_found(client: Client) -> None:
    for answer in (await client.get("/v1/spaces/A"), await client.delete("/v1/spaces/A")):
        assert answer.status_code == 404
        assert answer.json()["value"] == "A"


async def test_an_unknown_parent_is_an_unknown_reference(client: Client) -> None:
    problem = (await put(client, "A", parent_id="B")).json()
    assert problem["type"].endswith("unknown-reference")
    assert (problem["field"], problem["value"]) == ("parent_id", "B")


async def test_a_space_cannot_be_inside_itself(client: Client) -> None:
    await put(client, "A")
    await put(client, "B", parent_id="A")
    await put(client, "C", parent_id="B")
    for inside in ("A", "C"):
        answer = await put(client, "A", parent_id=inside)
        assert answer.status_code == 422
        assert (answer.json()["field"], answer.json()["value"]) == ("parent_id", f"{inside}")
    assert (await client.get("/v1/spaces/A")).json()["parent_id"] is None


async def test_spaces_are_listed_in_pages(client: Client) -> None:
    names = [f"S{n}" for n in range(5)]
    for name in reversed(names):
        await put(client, name)
    seen: list[str] = []
    cursor: str | None = None
    pages = 0
    while True:
        query: dict[str, Any] = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        answer = (await client.get("/v1/spaces", params=query)).json()
        seen += [space["space_id"] for space in answer["items"]]
        pages += 1
        cursor = answer["next"]
        if cursor is None:
            break
    assert seen == names
    assert pages == 3


async def test_the_last_page_says_so_even_if_it_is_full(client: Client) -> None:
    await put(client, "A")
    await put(client, "B")
    assert (await client.get("/v1/spaces?limit=2")).json()["next"] is None


async def test_spaces_are_listed_by_parent_and_kind(client: Client) -> None:
    await put(client, "A", kind="floor")
    await put(client, "B", parent_id="A", kind="room")
    await put(client, "C", parent_id="B", kind="room")

    async def listed(**query: str) -> list[tuple[str, str | None]]:
        answer = await client.get("/v1/spaces", params=query)
        return [(space["space_id"], space["parent_id"]) for space in answer.json()["items"]]

    assert await listed() == [("A", None), ("B", "A"), ("C", "B")]
    assert await listed(parent_id="A") == [("B", "A")]
    assert await listed(kind="room") == [("B", "A"), ("C", "B")]
    assert await listed(kind="room", parent_id="B") == [("C", "B")]
    assert (await client.get("/v1/spaces?parent_id=Z")).json()["type"].endswith("unknown-reference")


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "cursor=*", "cursor=", "cursor=AA", "cursor=_w", "cursor=QR", "cursor=Q%3D"],
)
async def test_a_bad_page_is_refused(client: Client, query: str) -> None:
    answer = await client.get(f"/v1/spaces?{query}")
    assert answer.status_code == 422
    assert answer.json()["field"] == query.split("=", maxsplit=1)[0]


async def test_a_space_is_deleted_with_its_resets(client: Client) -> None:
    await put(client, "A")
    await client.post("/v1/spaces/A/resets", json={})
    assert (await client.delete("/v1/spaces/A")).status_code == 204
    assert (await client.get("/v1/spaces/A")).status_code == 404


async def test_a_space_with_spaces_below_or_doorways_stays(client: Client) -> None:
    await put(client, "A")
    await put(client, "B", parent_id="A")
    below = await client.delete("/v1/spaces/A")
    assert below.status_code == 409
    assert (below.json()["field"], below.json()["value"]) == ("space_id", "A")
    await client.put("/v1/doorways/X", json={"side_a": None, "side_b": "B"})
    opening = await client.delete("/v1/spaces/B")
    assert opening.status_code == 409
    assert "doorway" in opening.json()["detail"]
