"""What HTTP answers about crossings that were dropped: what is known, or a 422 that names the field."""

from __future__ import annotations

import httpx
import pytest

from occupancy.database import Database
from occupancy.parse import parse_timestamp
from occupancy.refresh import Refresher
from occupancy.settings import Settings
from occupancy.storage import Storage
from tests.api import house

DROPPED_BEFORE = "2026-10-29T00:00:00Z"
INSIDE = f"{house.SPRING}T00:37:00Z"
REFUSED = [
    ("/v1/spaces/A/count", {"at": INSIDE}, "at"),
    ("/v1/counts", {"at": INSIDE, "space_id": "B,A"}, "at"),
    ("/v1/counts", {"at": INSIDE}, "at"),
    ("/v1/spaces/A/events", {"start": f"{house.SPRING}T00:00:00Z"}, "start"),
    ("/v1/spaces/A/events", {"start": f"{house.SPRING}T00:00:00Z", "order": "desc"}, "start"),
    ("/v1/spaces/A/events", {"start": f"{house.SPRING}T00:00:00Z", "format": "csv"}, "start"),
    ("/v1/dpus/283/events", {"start": f"{house.SPRING}T00:00:00Z"}, "start"),
    ("/v1/spaces/A/entries-by-doorway", {"start": f"{house.SPRING}T00:00:00Z"}, "start"),
]


@pytest.fixture(autouse=True)
async def _days(client: httpx.AsyncClient, database: Database, settings: Settings) -> None:
    """A day in spring and one in autumn, whose crossings are gone."""
    await house.build(client)
    await house.live_through_two_days(client)
    assert await Refresher(database, settings).run_once()
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE occupancy.storage SET keep_crossings = clock_timestamp() - $1",
            parse_timestamp(DROPPED_BEFORE),
        )
    for _ in range(2):
        await Storage(database).run_once()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM occupancy.crossing") == 0


@pytest.mark.parametrize(("path", "params", "field"), REFUSED)
async def test_what_is_no_longer_known_is_refused(
    client: httpx.AsyncClient, path: str, params: dict[str, str], field: str
) -> None:
    problem = await house.refuse(client, path, params, 422, field)
    assert "no longer stored" in problem["detail"]


async def test_what_is_known_is_answered(client: httpx.AsyncClient) -> None:
    for at, count in (
        (f"{house.SPRING}T00:45:00Z", 2),
        (f"{house.SPRING}T00:44:59.999999Z", 1),
        (f"{house.SPRING}T01:30:00Z", 1),
        (f"{house.SPRING}T03:03:03Z", 1),
        (f"{house.AUTUMN}T12:00:00Z", 1),
        (DROPPED_BEFORE, 1),
    ):
        answer = await house.get(client, "/v1/spaces/A/count", at=at)
        assert answer["count"] == count, at
    assert (await house.get(client, "/v1/spaces/A/count"))["count"] == 1
    hours = {"start": f"{house.SPRING}T00:00:00Z", "end": f"{house.SPRING}T06:00:00Z", "interval": "1h"}
    series = await house.get(client, "/v1/spaces/A/series", **hours)
    assert [(item["max"], item["entries"]) for item in series["items"]][:2] == [(2, 2), (2, 0)]


async def test_old_events_and_resets_are_refused(client: httpx.AsyncClient) -> None:
    event = {"timestamp": INSIDE, "dpu_id": "283", "direction": 1}
    answer = (await client.post("/v1/events", json=[event])).json()
    assert [rejected["code"] for rejected in answer["rejected"]] == ["past_retention"]
    refused = await client.post("/v1/spaces/A/resets", json={"at": INSIDE, "count": 3})
    assert refused.status_code == 422
    assert (refused.json()["field"], refused.json()["value"]) == ("at", INSIDE)
    stated = await client.post("/v1/spaces/A/resets", json={"at": f"{house.SPRING}T06:00:00Z", "count": 7})
    assert stated.status_code == 201
    assert (await house.get(client, "/v1/spaces/A/count"))["count"] == 8
