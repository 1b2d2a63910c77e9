"""Resets over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

Client = httpx.AsyncClient

RESETS = "/v1/spaces/A/resets"


@pytest.fixture(autouse=True)
async def spaces(client: Client) -> None:
    for space_id in ("A", "B"):
        await client.put(f"/v1/spaces/{space_id}", json={})


def day(number: int) -> str:
    return f"2025-01-{number:02}T00:00:00Z"


async def test_a_reset_is_stated(client: Client) -> None:
    body = {"at": "2025-01-01T02:00:00.25+01:00", "count": 7, "reason": "counted\nby hand"}
    answer = await client.post(RESETS, json=body)
    assert answer.status_code == 201
    stated = answer.json()
    assert stated == {**body, "at": "2025-01-01T01:00:00.250000Z", "reset_id": stated["reset_id"]}
    assert (await client.get(RESETS)).json() == {"items": [stated], "next": None}


async def test_a_reset_is_to_nobody_and_now_unless_said_otherwise(client: Client) -> None:
    stated = (await client.post(RESETS, json={})).json()
    assert (stated["count"], stated["reason"]) == (0, "")
    assert abs(datetime.fromisoformat(stated["at"]) - datetime.now(UTC)) < timedelta(minutes=1)


async def test_two_resets_at_one_instant_are_refused(client: Client) -> None:
    await client.post(RESETS, json={"at": day(1)})
    answer = await client.post(RESETS, json={"at": "2025-01-01T01:00:00+01:00", "count": 5})
    assert answer.status_code == 409
    assert (answer.json()["field"], answer.json()["value"]) == ("at", f"{day(1)}")
    assert (await client.post("/v1/spaces/B/resets", json={"at": day(1)})).status_code == 201


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", -1),
        ("count", 2**31),
        ("count", 1.5),
        ("count", None),
        ("at", "2025-01-01T00:00:00"),
        ("at", "9999-12-31T23:59:59.999999Z"),
        ("reason", "a\0"),
        ("reason", "r" * 2001),
        ("who", "me"),
    ],
)
async def test_a_bad_value_is_refused_by_name(client: Client, field: str, value: Any) -> None:
    answer = await client.post(RESETS, json={field: value})
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert (await client.get(RESETS)).json()["items"] == []


async def test_resets_are_listed_newest_first_in_pages(client: Client) -> None:
    for number in (2, 1, 3):
        await client.post(RESETS, json={"at": day(number)})

    async def listed(**query: Any) -> tuple[list[str], str | None]:
        answer = (await client.get(RESETS, params=query)).json()
        return [reset["at"] for reset in answer["items"]], answer["next"]

    first, cursor = await listed(limit=2)
    assert first == [day(3), day(2)]
    assert await listed(limit=2, cursor=cursor) == ([day(1)], None)
    assert await listed(**{"from": day(2)}) == ([day(3), day(2)], None)
    assert await listed(**{"from": day(2), "to": day(3)}) == ([day(2)], None)
    assert await listed(to=day(3), limit=1, cursor=cursor) == ([day(1)], None)


async def test_a_bad_filter_is_refused_by_name(client: Client) -> None:
    for query, field in (("from=2025-01-01T00:00:00", "from"), ("to=now", "to"), ("cursor=QQ", "cursor")):
        answer = await client.get(f"{RESETS}?{query}")
        assert answer.status_code == 422
        assert answer.json()["field"] == field


async def test_a_reset_is_taken_back_under_its_own_space_only(client: Client) -> None:
    reset_id = (await client.post(RESETS, json={})).json()["reset_id"]
    assert (await client.delete(f"/v1/spaces/B/resets/{reset_id}")).status_code == 404
    assert (await client.delete(f"{RESETS}/{reset_id}")).status_code == 204
    assert (await client.delete(f"{RESETS}/{reset_id}")).status_code == 404
    assert (await client.delete(f"{RESETS}/{2**31}")).status_code == 422


async def test_an_unknown_space_has_no_resets(client: Client) -> None:
    assert (await client.get("/v1/spaces/Z/resets")).status_code == 404
    assert (await client.post("/v1/spaces/Z/resets", json={})).status_code == 404
