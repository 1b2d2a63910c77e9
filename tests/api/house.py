"""A house with two rooms, on days on which clocks are changed."""

from __future__ import annotations

from typing import Any

import httpx

# In Berlin, 23 and 25 hours long.
SPRING = "2026-03-29"
AUTUMN = "2026-10-25"


async def build(client: httpx.AsyncClient) -> None:
    """The house and its room A in Berlin, with capacities; room B behind A, in UTC, without one."""
    berlin = {"time_zone": "Europe/Berlin"}
    await client.put("/v1/spaces/house", json={"capacity": 10, **berlin})
    await client.put("/v1/spaces/A", json={"parent_id": "house", "capacity": 4, **berlin})
    await client.put("/v1/spaces/B", json={"parent_id": "house", "time_zone": "UTC"})
    await client.put("/v1/doorways/X", json={"side_a": "A", "side_b": None})
    await client.put("/v1/doorways/Z", json={"side_a": "A", "side_b": "B"})
    for dpu, doorway in (("283", "X"), ("423", "Z")):
        await client.put(f"/v1/dpus/{dpu}", json={})
        await place(client, dpu, doorway_id=doorway, facing="a")


async def place(client: httpx.AsyncClient, dpu: str, **placement: Any) -> None:
    answer = await client.post(f"/v1/dpus/{dpu}/placements", json={"from": None, **placement})
    assert answer.status_code == 201, answer.text


async def walk(client: httpx.AsyncClient, *steps: tuple[str, str, int]) -> None:
    """Send events: timestamp, DPU, direction; their order is their seq."""
    events = [
        {"timestamp": time, "dpu_id": dpu, "direction": direction, "seq": seq}
        for seq, (time, dpu, direction) in enumerate(steps)
    ]
    answer = await client.post("/v1/events", json=events)
    assert answer.json()["accepted"] == len(events), answer.text


async def live_through_two_days(client: httpx.AsyncClient) -> None:
    """In spring two people walk into A, one goes on to B, one leaves; in autumn one walks into A and stays."""
    await walk(
        client,
        (f"{SPRING}T00:30:00Z", "283", 1),
        (f"{SPRING}T00:45:00Z", "283", 1),
        (f"{SPRING}T01:15:00Z", "423", -1),
        (f"{SPRING}T05:00:00Z", "283", -1),
        (f"{AUTUMN}T00:30:00Z", "283", 1),
    )


async def get(client: httpx.AsyncClient, path: str, **params: Any) -> dict[str, Any]:
    """The answer to a good question."""
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def all_items(client: httpx.AsyncClient, path: str, **params: Any) -> tuple[list[dict[str, Any]], int]:
    """The items of all pages, and how many pages there were."""
    items: list[dict[str, Any]] = []
    pages, cursor = 0, None
    while pages == 0 or cursor is not None:
        answer = await get(client, path, **params, **({"cursor": cursor} if cursor else {}))
        assert len(answer["items"]) <= params["limit"]
        items += answer["items"]
        cursor = answer["next"]
        pages += 1
        assert pages < 500
    return items, pages


async def refuse(
    client: httpx.AsyncClient, path: str, params: dict[str, str], status: int, field: str
) -> dict[str, Any]:
    """The problem that a bad question is; its field and its value are those of the question."""
    answer = await client.get(path, params=params)
    assert answer.status_code == status, (path, params, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["field"] == field, (path, params, problem)
    if field in params:
        assert problem["value"], (path, params, problem)
        assert str(problem["value"]) in params[field], (path, params, problem)
    return problem
