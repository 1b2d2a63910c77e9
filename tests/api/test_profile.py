"""GET /v1/spaces/{space_id}/profile, GET /v1/top and GET /v1/spaces/{space_id}/entries-by-doorway."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from occupancy.database import Database
from occupancy.refresh import Refresher
from occupancy.settings import Settings
from tests.api import house
from tests.api.house import AUTUMN, SPRING, get, refuse

PROFILE = "/v1/spaces/A/profile"
DOORWAYS = "/v1/spaces/A/entries-by-doorway"
# of Berlin, a Sunday
SPRING_DAY = {"start": "2026-03-28T23:00:00Z", "end": "2026-03-29T22:00:00Z"}
AUTUMN_DAY = {"start": "2026-10-24T22:00:00Z", "end": "2026-10-25T23:00:00Z"}


@pytest.fixture(autouse=True)
async def _house(client: httpx.AsyncClient) -> None:
    await house.build(client)
    await house.live_through_two_days(client)


def by_hour(answer: dict[str, Any]) -> dict[tuple[int, int], dict[str, Any]]:
    return {(item["weekday"], item["hour"]): item for item in answer["items"]}


async def test_an_hour_that_clocks_skip_is_none(client: httpx.AsyncClient) -> None:
    answer = await get(client, PROFILE, **SPRING_DAY)
    assert (answer["space_id"], answer["time_zone"]) == ("A", "Europe/Berlin")
    assert [(item["weekday"], item["hour"]) for item in answer["items"]] == [
        (7, hour) for hour in range(24) if hour != 2
    ]
    assert by_hour(answer)[7, 1] == {
        "weekday": 7, "hour": 1, "mean": 0.75, "peak": 2, "mean_peak": 2.0, "seconds": 3600.0,
        "utilization": 0.1875, "peak_utilization": 0.5,
    }  # fmt: skip


async def test_an_hour_that_clocks_show_twice_counts_twice(client: httpx.AsyncClient) -> None:
    found = by_hour(await get(client, PROFILE, **AUTUMN_DAY))
    assert len(found) == 24
    # one is there before; a second one comes half an hour after clocks show two for the first time
    assert (found[7, 2]["seconds"], found[7, 2]["peak"], found[7, 2]["mean"]) == (7200.0, 1, 0.75)
    assert found[7, 1]["mean"] == 0.0


async def test_the_mean_of_peaks_is_over_the_weeks(client: httpx.AsyncClient) -> None:
    hours = {"hours": "Sun 14:00-15:00"}
    await house.walk(client, (f"{AUTUMN}T13:20:00Z", "283", 1), (f"{AUTUMN}T13:30:00Z", "283", 1))
    params = {"start": "2026-10-18T00:00:00Z", "end": "2026-10-26T00:00:00Z"}
    (item,) = (await get(client, PROFILE, **params, **hours))["items"]
    # nobody on the first Sunday; one, then two, then three on the second
    assert (item["weekday"], item["hour"], item["seconds"]) == (7, 14, 7200.0)
    assert (item["peak"], item["mean_peak"], item["peak_utilization"]) == (3, 1.5, 0.75)
    assert item["mean"] == pytest.approx((20 * 1 + 10 * 2 + 30 * 3) / 120)
    assert item["utilization"] == pytest.approx(item["mean"] / 4)


async def test_tz_says_whose_hours_they_are(client: httpx.AsyncClient) -> None:
    answer = await get(client, PROFILE, **SPRING_DAY, tz="UTC")
    assert answer["time_zone"] == "UTC"
    found = by_hour(answer)
    assert (6, 23) in found
    assert found[7, 0]["peak"] == 2


async def ranked(client: httpx.AsyncClient, **params: Any) -> list[tuple[int, str, float]]:
    answer = await get(client, "/v1/top", **{**SPRING_DAY, **params})
    return [(item["rank"], item["space_id"], item["value"]) for item in answer["items"]]


async def test_spaces_are_ranked_over_the_whole_range(client: httpx.AsyncClient) -> None:
    hour = {"start": f"{SPRING}T00:00:00Z", "end": f"{SPRING}T02:00:00Z"}
    assert await ranked(client, **hour) == [(1, "A", 2.0), (2, "house", 2.0), (3, "B", 1.0)]
    assert await ranked(client, **hour, by="mean") == [(1, "house", 1.375), (2, "A", 1.0), (3, "B", 0.375)]
    assert await ranked(client, **hour, by="entries") == [(1, "A", 2.0), (2, "house", 2.0), (3, "B", 1.0)]
    # B has no capacity
    assert await ranked(client, **hour, by="utilization") == [(1, "A", 0.25), (2, "house", 0.1375)]
    assert await ranked(client, **hour, by="peak_utilization") == [(1, "A", 0.5), (2, "house", 0.2)]


async def test_a_ranking_can_be_narrowed(client: httpx.AsyncClient) -> None:
    assert await ranked(client, limit=1) == [(1, "A", 2.0)]
    assert await ranked(client, space_id="B,A") == [(1, "A", 2.0), (2, "B", 1.0)]
    assert await ranked(client, parent_id="B") == [(1, "B", 1.0)]
    # from three to four in summer time
    assert await ranked(client, by="mean", hours="Sun 03:00-04:00", parent_id="A") == [(1, "A", 1.25)]
    assert await ranked(client, by="mean", hours="Sun 01:00-02:00", tz="UTC", parent_id="A") == [
        (1, "A", 1.25)
    ]
    assert await ranked(client, by="mean", hours="Mon 01:00-02:00") == []


async def test_groups_of_spaces_are_ranked_as_one(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await ranked(client, by="mean")
    monkeypatch.setattr("occupancy.history.summaries._SPACES_AT_ONCE", 1)
    assert await ranked(client, by="mean") == whole
    assert len(whole) == 3


async def test_the_course_of_a_ranked_space_is_told(client: httpx.AsyncClient) -> None:
    (item,) = (await get(client, "/v1/top", **SPRING_DAY, space_id="A"))["items"]
    assert (item["start"], item["end"]) == (SPRING_DAY["start"], SPRING_DAY["end"])
    assert (item["seconds"], item["first"], item["last"], item["entries"], item["exits"]) == (
        82800.0,
        0,
        0,
        2,
        2,
    )


async def test_entries_by_doorway_follow_a_dpu_that_was_moved(client: httpx.AsyncClient) -> None:
    """Until two it hangs in A over the door to B, then outside of the door to the house."""
    before = {**SPRING_DAY, "end": f"{SPRING}T02:00:00Z"}
    doors = [{"doorway_id": "X", "entries": 2, "exits": 0}, {"doorway_id": "Z", "entries": 0, "exits": 1}]
    assert (await get(client, DOORWAYS, **before))["items"] == doors

    await house.place(client, "423", doorway_id="X", facing="b", **{"from": f"{SPRING}T02:00:00Z"})
    await house.walk(
        client,
        (f"{SPRING}T02:00:00Z", "423", -1),
        (f"{SPRING}T03:00:00Z", "423", 1),
        (f"{SPRING}T04:00:00Z", "423", -1),
    )
    assert (await get(client, DOORWAYS, **before))["items"] == doors
    assert (await get(client, DOORWAYS, **SPRING_DAY))["items"] == [
        {"doorway_id": "X", "entries": 4, "exits": 2},
        {"doorway_id": "Z", "entries": 0, "exits": 1},
    ]
    # the house has one door; a doorway through which nobody went is told too
    assert (await get(client, "/v1/spaces/house/entries-by-doorway", **SPRING_DAY))["items"] == [
        {"doorway_id": "X", "entries": 4, "exits": 2}
    ]
    after = {"start": f"{SPRING}T06:00:00Z", "end": f"{SPRING}T07:00:00Z"}
    assert (await get(client, DOORWAYS, **after))["items"] == [{"doorway_id": "X", "entries": 0, "exits": 0}]


async def test_crossings_that_are_no_longer_stored_are_not_left_out_silently(
    client: httpx.AsyncClient, database: Database, settings: Settings, connection: asyncpg.Connection
) -> None:
    await Refresher(database, settings.model_copy(update={"refresh_step": timedelta(days=365)})).run_once()
    await connection.execute("SELECT public.drop_chunks('occupancy.crossing', '2026-06-01'::timestamptz)")
    problem = await refuse(client, DOORWAYS, SPRING_DAY, 422, "start")
    assert "no longer stored" in problem["detail"]
    assert (await get(client, DOORWAYS, **AUTUMN_DAY))["items"][0]["entries"] == 1


BAD_RANGES: list[tuple[dict[str, str], str]] = [
    ({}, "start"),
    ({"start": "9000-01-01T00:00:00Z"}, "start"),
    ({"start": "2026-03-02T00:00:00Z", "end": "2026-03-01T00:00:00Z"}, "start"),
    ({"start": "2026-03-02T00:00:00Z", "end": "soon"}, "end"),
    ({**SPRING_DAY, "tz": "Mars/Olympus"}, "tz"),
]


async def test_a_bad_range_names_the_field_and_the_value(client: httpx.AsyncClient) -> None:
    for path in (PROFILE, "/v1/top", DOORWAYS):
        for params, field in BAD_RANGES:
            await refuse(client, path, params, 422, field)


BAD_CHOICES: list[tuple[str, dict[str, str], int, str]] = [
    ("/v1/spaces/nowhere/profile", SPRING_DAY, 404, "space_id"),
    ("/v1/spaces/nowhere/entries-by-doorway", SPRING_DAY, 404, "space_id"),
    (PROFILE, {**SPRING_DAY, "hours": "always"}, 422, "hours"),
    (PROFILE, {"start": "2001-01-01T00:00:00Z"}, 422, "start"),
    ("/v1/top", {**SPRING_DAY, "hours": "always"}, 422, "hours"),
    ("/v1/top", {**SPRING_DAY, "by": "beauty"}, 422, "by"),
    ("/v1/top", {**SPRING_DAY, "limit": "0"}, 422, "limit"),
    ("/v1/top", {**SPRING_DAY, "space_id": "A,nowhere"}, 422, "space_id"),
    ("/v1/top", {**SPRING_DAY, "parent_id": "nowhere"}, 422, "parent_id"),
]


async def test_a_bad_choice_is_named(client: httpx.AsyncClient) -> None:
    for path, params, status, field in BAD_CHOICES:
        await refuse(client, path, params, status, field)
