"""GET /v1/spaces/{space_id}/series and GET /v1/series."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api import house
from tests.api.house import AUTUMN, SPRING, all_items, get, refuse

A = "/v1/spaces/A/series"
YEAR = {"start": "2026-03-29T00:00:00Z", "end": "2026-10-26T00:00:00Z"}
TEN_DAYS = {"start": "2026-10-18T00:00:00Z", "end": "2026-10-27T12:00:00Z"}


@pytest.fixture(autouse=True)
async def _house(client: httpx.AsyncClient) -> None:
    await house.build(client)
    await house.live_through_two_days(client)


async def test_a_bucket_says_how_the_count_ran(client: httpx.AsyncClient) -> None:
    answer = await get(client, A, start=f"{SPRING}T00:00:00Z", end=f"{SPRING}T01:30:00Z")
    assert (answer["space_id"], answer["interval"], answer["time_zone"]) == ("A", "1h", "Europe/Berlin")
    assert answer["next"] is None
    assert answer["items"] == [
        {
            "start": "2026-03-29T00:00:00Z", "end": "2026-03-29T01:00:00Z", "seconds": 3600.0,
            "first": 0, "last": 2, "min": 0, "max": 2, "mean": 0.75, "net_min": 0, "entries": 2, "exits": 0,
            "utilization": 0.1875, "peak_utilization": 0.5,
        },
        {
            "start": "2026-03-29T01:00:00Z", "end": "2026-03-29T02:00:00Z", "seconds": 3600.0,
            "first": 2, "last": 1, "min": 1, "max": 2, "mean": 1.25, "net_min": 1, "entries": 0, "exits": 1,
            "utilization": 0.3125, "peak_utilization": 0.5,
        },
    ]  # fmt: skip


async def test_without_a_capacity_there_is_no_utilization(client: httpx.AsyncClient) -> None:
    answer = await get(client, "/v1/spaces/B/series", start=f"{SPRING}T00:00:00Z", end=f"{SPRING}T01:00:00Z")
    (item,) = answer["items"]
    assert (item["utilization"], item["peak_utilization"]) == (None, None)


@pytest.mark.parametrize(
    ("day", "hours", "start", "end"),
    [
        (SPRING, 23, "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        (AUTUMN, 25, "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
    ],
)
async def test_days_are_as_long_as_the_clocks_make_them(
    client: httpx.AsyncClient, day: str, hours: int, start: str, end: str
) -> None:
    noon = {"start": f"{day}T12:00:00Z", "end": f"{day}T12:00:01Z"}
    (item,) = (await get(client, A, **noon, interval="1d"))["items"]
    assert (item["start"], item["end"], item["seconds"]) == (start, end, hours * 3600)
    hourly = (await get(client, A, start=start, end=end))["items"]
    assert len(hourly) == hours
    assert sum(each["mean"] for each in hourly) == pytest.approx(item["mean"] * hours)


async def test_tz_is_the_calendar_and_the_zone_of_the_times(client: httpx.AsyncClient) -> None:
    noon = {"start": f"{SPRING}T12:00:00Z", "end": f"{SPRING}T12:00:01Z", "interval": "1d"}
    own = await get(client, A, **noon)
    assert (own["time_zone"], own["items"][0]["start"]) == ("Europe/Berlin", "2026-03-28T23:00:00Z")
    tokyo = await get(client, A, **noon, tz="Asia/Tokyo")
    assert (tokyo["time_zone"], tokyo["items"][0]["start"]) == ("Asia/Tokyo", "2026-03-29T00:00:00+09:00")
    many = await get(client, "/v1/series", **noon)
    assert many["time_zone"] is None
    assert [(item["space_id"], item["start"]) for item in many["items"]] == [
        ("A", "2026-03-28T23:00:00Z"),
        ("B", "2026-03-29T00:00:00Z"),
        ("house", "2026-03-28T23:00:00Z"),
    ]


@pytest.mark.parametrize(
    ("interval", "start", "end"),
    [
        ("15m", "2026-03-29T12:30:00Z", "2026-03-29T12:45:00Z"),
        ("24h", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        ("1w", "2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z"),
        ("1mo", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"),
        ("3mo", "2025-12-31T23:00:00Z", "2026-03-31T22:00:00Z"),
        ("1y", "2025-12-31T23:00:00Z", "2026-12-31T23:00:00Z"),
    ],
)
async def test_a_range_is_widened_to_whole_buckets(
    client: httpx.AsyncClient, interval: str, start: str, end: str
) -> None:
    answer = await get(
        client,
        A,
        start=f"{SPRING}T12:31:00Z",
        end=f"{SPRING}T12:31:01Z",
        interval=interval,
        tz="Europe/Berlin",
    )
    (item,) = answer["items"]
    assert datetime.fromisoformat(item["start"]) == datetime.fromisoformat(start)
    assert datetime.fromisoformat(item["end"]) == datetime.fromisoformat(end)


async def test_a_bucket_in_progress_is_looked_at_until_now(client: httpx.AsyncClient) -> None:
    now = datetime.now(UTC)
    end = (now + timedelta(days=9)).isoformat()
    params = {"start": now.isoformat(), "end": end, "interval": "1d", "limit": 1}
    items, pages = await all_items(client, "/v1/spaces/B/series", **params)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    assert datetime.fromisoformat(items[0]["end"]) == midnight + timedelta(days=1)
    assert items[0]["seconds"] == pytest.approx((now - midnight).total_seconds(), abs=60)
    # a second one around midnight: clocks of devices may be ahead
    assert pages <= 2


async def test_only_the_hours_in_which_it_is_open(client: httpx.AsyncClient) -> None:
    # 29 March is a Sunday; 00:30Z is half past one in Berlin
    params = {**YEAR, "end": "2026-03-31T00:00:00Z", "interval": "1d", "hours": "Sun 01:00-02:00"}
    (item,) = (await get(client, A, **params))["items"]
    assert (item["seconds"], item["max"], item["mean"]) == (3600.0, 2, 0.75)


@pytest.mark.parametrize(
    ("params", "limits"),
    [
        ({**TEN_DAYS, "interval": "1d"}, (1, 7, 9)),
        ({"start": f"{AUTUMN}T00:00:00Z", "end": f"{AUTUMN}T04:00:00Z", "interval": "1m"}, (59, 60)),
        ({**YEAR, "interval": "1w", "hours": "Sun 00:00-24:00"}, (7, 20)),
        ({**TEN_DAYS, "interval": "6h", "hours": "Sun 01:00-02:00"}, (7, 30)),
    ],
)
@pytest.mark.parametrize("path", [A, "/v1/series"])
async def test_all_pages_together_are_one_large_page(
    client: httpx.AsyncClient, path: str, params: dict[str, str], limits: tuple[int, ...]
) -> None:
    whole = await get(client, path, **params, limit=10_000)
    assert whole["next"] is None
    assert len(whole["items"]) > 1
    for limit in limits:
        items, pages = await all_items(client, path, **params, limit=limit)
        assert items == whole["items"]
        assert pages > 1


async def test_spaces_with_few_buckets_share_a_page(client: httpx.AsyncClient) -> None:
    params = {"start": f"{SPRING}T00:00:00Z", "end": f"{SPRING}T04:00:00Z", "limit": 9}
    first = await get(client, "/v1/series", **params)
    assert [item["space_id"] for item in first["items"]] == ["A"] * 4 + ["B"] * 4
    second = await get(client, "/v1/series", **params, cursor=first["next"])
    assert [item["space_id"] for item in second["items"]] == ["house"] * 4
    assert second["next"] is None


async def test_a_space_that_is_removed_between_two_pages_is_passed_over(client: httpx.AsyncClient) -> None:
    await client.put("/v1/spaces/AA", json={})
    params = {"start": f"{SPRING}T00:00:00Z", "end": f"{SPRING}T04:00:00Z", "limit": 3}
    cursor = (await get(client, "/v1/series", **params, space_id="AA,B"))["next"]
    await client.delete("/v1/spaces/AA")
    following = await get(client, "/v1/series", **params, cursor=cursor)
    assert [(item["space_id"], item["start"][11:16]) for item in following["items"]] == [
        ("B", "00:00"), ("B", "01:00"), ("B", "02:00"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("which", "found"),
    [
        ({}, ["A", "B", "house", "other"]),
        ({"space_id": "B,A"}, ["A", "B"]),
        ({"space_id": ["other", "A"]}, ["A", "other"]),
        ({"parent_id": "house"}, ["A", "B", "house"]),
    ],
)
async def test_which_spaces(client: httpx.AsyncClient, which: dict[str, Any], found: list[str]) -> None:
    await client.put("/v1/spaces/other", json={})
    params = {"start": f"{SPRING}T00:00:00Z", "end": f"{SPRING}T01:00:00Z", **which}
    assert [item["space_id"] for item in (await get(client, "/v1/series", **params))["items"]] == found


START = f"{SPRING}T00:00:00Z"


BAD: list[tuple[dict[str, str], str]] = [
    ({}, "start"),
    ({"start": "yesterday"}, "start"),
    ({"start": "9000-01-01T00:00:00Z"}, "start"),
    ({"start": "0001-01-01T00:00:00Z"}, "start"),
    ({"start": START, "end": START}, "start"),
    ({"start": START, "end": "2026-03-01T00:00:00Z"}, "start"),
    ({"start": START, "end": "2026-03-30"}, "end"),
    ({"start": START, "interval": "1 hour"}, "interval"),
    ({"start": START, "interval": "7m"}, "interval"),
    ({"start": START, "interval": "99999y"}, "interval"),
    ({"start": START, "interval": "9999y"}, "interval"),
    ({"start": START, "interval": "0d"}, "interval"),
    ({"start": START, "interval": "5mo"}, "interval"),
    ({"start": START, "tz": "Mars/Olympus"}, "tz"),
    ({"start": START, "hours": "always"}, "hours"),
    ({"start": START, "hours": "Mon 25:00-26:00"}, "hours"),
    ({"start": START, "hours": "Mon\x00"}, "hours"),
    ({"start": START, "limit": "0"}, "limit"),
    ({"start": START, "limit": "10001"}, "limit"),
    ({"start": START, "cursor": "!"}, "cursor"),
    ({"start": START, "cursor": "QQ"}, "cursor"),
    ({"start": START, "format": "xlsx"}, "format"),
]


@pytest.mark.parametrize("path", [A, "/v1/series"])
async def test_a_bad_question_names_the_field_and_the_value(client: httpx.AsyncClient, path: str) -> None:
    for params, field in BAD:
        await refuse(client, path, params, 422, field)


async def test_bad_spaces_are_named(client: httpx.AsyncClient) -> None:
    start = {"start": START}
    await refuse(client, "/v1/spaces/nowhere/series", start, 404, "space_id")
    await refuse(client, "/v1/series", {**start, "space_id": "A,nowhere"}, 422, "space_id")
    await refuse(client, "/v1/series", {**start, "parent_id": "nowhere"}, 422, "parent_id")
    await refuse(client, "/v1/series", {**start, "parent_id": "house", "space_id": "A"}, 422, "parent_id")


async def test_the_cursor_of_another_question_is_refused(client: httpx.AsyncClient) -> None:
    params = {"start": START, "end": f"{SPRING}T04:00:00Z", "limit": "1"}
    cursor = (await get(client, A, **params))["next"]
    for path, changed in (
        ("/v1/spaces/B/series", {}),
        (A, {"start": f"{SPRING}T02:00:00Z"}),
        (A, {"end": f"{SPRING}T00:30:00Z"}),
        ("/v1/spaces/A/events", {}),
    ):
        await refuse(client, path, {**params, **changed, "cursor": cursor}, 422, "cursor")
