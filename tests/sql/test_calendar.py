"""Calendar buckets and opening hours in local time, against a walk through every minute."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.effort import examples
from tests.sql import series_model
from tests.sql.series_model import Hours, Width

# around changes of clocks, with what is special about them
CHANGES = {
    "Europe/Berlin": ["2026-03-29", "2026-10-25"],
    "America/New_York": ["2026-03-08", "2026-11-01"],
    "Asia/Kolkata": ["2026-06-01"],
    "Pacific/Apia": ["2011-12-30", "2012-04-01", "2012-09-30"],  # skipped 30 December 2011
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],  # by half an hour
    "America/Havana": ["2026-03-08", "2026-11-01"],  # midnight is skipped, or comes twice
    "America/Sao_Paulo": ["2018-02-18", "2018-11-04"],  # back at midnight to 23:00, and midnight is skipped
    "UTC": ["2026-06-01"],
}
WIDTHS = [
    *(Width(part=timedelta(minutes=minutes)) for minutes in (1, 5, 15, 30, 60, 120, 360, 720)),
    *(Width(days=days) for days in (1, 2, 7)),
    *(Width(months=months) for months in (1, 3, 12)),
]
spots = st.sampled_from(
    [
        (zone, datetime.fromisoformat(day).replace(tzinfo=UTC))
        for zone, days in CHANGES.items()
        for day in days
    ]
)
offsets = st.integers(-40 * 60, 40 * 60).map(lambda minutes: timedelta(minutes=minutes))
lengths = st.sampled_from([timedelta(minutes=1), timedelta(hours=5), timedelta(hours=30), timedelta(days=3)])
times = st.sampled_from([time(), time(1), time(1, 30), time(2, 15), time(8), time(18), time(23, 59)])
rules = st.builds(
    Hours,
    st.lists(st.integers(0, 6), min_size=1, max_size=4, unique=True).map(tuple),
    times,
    st.none() | times,
)
_SETTINGS = settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def ask(migrated_url: str) -> Iterator[Ask]:
    """One value from the database; on a loop of its own, since Hypothesis calls ordinary functions."""
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(asyncpg.connect(migrated_url))
    yield lambda sql, *arguments: loop.run_until_complete(connection.fetchval(sql, *arguments))
    loop.run_until_complete(connection.close())
    loop.close()


def _cuts(ask: Ask, start: datetime, end: datetime, width: str, zone: str) -> list[datetime]:
    found: list[datetime] = ask(
        "SELECT occupancy.cuts($1, $2, $3::text::interval, $4)", start, end, width, zone
    )
    return found


@_SETTINGS
@given(spot=spots, offset=offsets, length=lengths, width=st.sampled_from(WIDTHS))
def test_buckets_begin_where_clocks_say(
    ask: Ask, spot: tuple[str, datetime], offset: timedelta, length: timedelta, width: Width
) -> None:
    zone, day = spot
    start = day + offset
    expected = series_model.cuts(start, start + length, width, ZoneInfo(zone))
    assert _cuts(ask, start, start + length, str(width), zone) == expected


@_SETTINGS
@given(spot=spots, offset=offsets, length=lengths, hours=st.lists(rules, min_size=1, max_size=3))
def test_it_is_open_when_the_hours_say(
    ask: Ask, spot: tuple[str, datetime], offset: timedelta, length: timedelta, hours: list[Hours]
) -> None:
    zone, day = spot
    start = day + offset
    end = start + length
    expected = series_model.open_spans(start, end, hours, ZoneInfo(zone))
    rows = ask(
        "SELECT array_agg(ARRAY[lower(span), upper(span)] ORDER BY span) "
        "FROM unnest(occupancy.open_times($1, $2, $3, $4)) AS span",
        start,
        end,
        "; ".join(str(rule) for rule in hours),
        zone,
    )
    assert [tuple(span) for span in rows or []] == expected


@pytest.mark.parametrize(
    ("start", "width", "zone", "hours_long"),
    [
        ("2026-03-29T00:00:00+01:00", "1 day", "Europe/Berlin", 23),
        ("2026-10-25T00:00:00+02:00", "1 day", "Europe/Berlin", 25),
        ("2026-10-25T00:00:00+02:00", "24 hours", "Europe/Berlin", 25),
        ("2026-10-25T00:00:00+02:00", "6 hours", "Europe/Berlin", 7),
        ("2026-10-25T02:00:00+02:00", "1 hour", "Europe/Berlin", 1),
        ("2026-10-25T02:00:00+02:00", "2 hours", "Europe/Berlin", 3),
        ("2026-04-05T01:00:00+11:00", "1 hour", "Australia/Lord_Howe", 1.5),
        ("2026-02-01T00:00:00+01:00", "1 month", "Europe/Berlin", 28 * 24),
        ("2026-03-01T00:00:00+01:00", "1 month", "Europe/Berlin", 31 * 24 - 1),
        ("2024-01-01T00:00:00+01:00", "1 year", "Europe/Berlin", 366 * 24),
        ("2026-03-23T00:00:00+01:00", "7 days", "Europe/Berlin", 7 * 24 - 1),
    ],
)
def test_a_bucket_is_as_long_as_the_calendar_says(
    ask: Ask, start: str, width: str, zone: str, hours_long: float
) -> None:
    begin = datetime.fromisoformat(start)
    cuts = _cuts(ask, begin + timedelta(minutes=1), begin + timedelta(minutes=2), width, zone)
    assert cuts == [begin, begin + timedelta(hours=hours_long)]


def test_a_year_of_quarters_of_an_hour_has_two_odd_days(ask: Ask) -> None:
    cuts = _cuts(
        ask,
        datetime(2025, 12, 31, 23, tzinfo=UTC),
        datetime(2026, 12, 31, 23, tzinfo=UTC),
        "15 minutes",
        "Europe/Berlin",
    )
    assert len(cuts) == 365 * 96 + 1
    assert {later - earlier for earlier, later in itertools.pairwise(cuts)} == {timedelta(minutes=15)}


@pytest.mark.parametrize(
    "width",
    [
        "0",
        "-1 hour",
        "90 seconds",
        "7 minutes",
        "1 day 1 hour",
        "5 months",
        "400 days",
        "25 hours",
        "2 years",
    ],
)
def test_what_no_bucket_is_as_long_as_is_refused(ask: Ask, width: str) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match="a bucket is as long as") as error:
        _cuts(ask, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), width, "UTC")
    assert error.value.column_name == "interval"


@pytest.mark.parametrize(
    ("hours", "problem"),
    [
        ("", "are written like"),
        ("Mon-Fri 08:00", "are written like"),
        ("Mon-Fri; ", "are written like"),
        ("Mo 08:00-10:00", "are written like"),
        ("Mun 08:00-10:00", '"mun" does not name weekdays'),
        ("Mon 08:00-25:00", '"08:00-25:00" are no times of day'),
        ("Mon 08:60-09:00", '"08:60-09:00" are no times of day'),
    ],
)
def test_hours_that_nobody_understands_are_refused(ask: Ask, hours: str, problem: str) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=problem) as error:
        ask("SELECT count(*) FROM occupancy.opening_hours($1)", hours)
    assert error.value.column_name == "hours"


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        ("Mon-Wed 08:00-18:00", "1 08:00:00 18:00:00,2 08:00:00 18:00:00,3 08:00:00 18:00:00"),
        ("fri-MON", "1 00:00:00 24:00:00,5 00:00:00 24:00:00,6 00:00:00 24:00:00,7 00:00:00 24:00:00"),
        ("Tue 8:00-12:00, 13:00-17:30 ; Sat,Sun 22:00 - 06:00",
         "2 08:00:00 12:00:00,2 13:00:00 17:30:00,6 22:00:00 06:00:00,7 22:00:00 06:00:00"),
    ],
)  # fmt: skip
def test_hours_are_read_as_people_write_them(ask: Ask, hours: str, expected: str) -> None:
    found = ask(
        "SELECT string_agg(weekday || ' ' || opens || ' ' || closes, ',' ORDER BY weekday, opens) "
        "FROM occupancy.opening_hours($1)",
        hours,
    )
    assert found == expected


def test_it_is_still_open_after_a_day_that_clocks_skipped(ask: Ask) -> None:
    """Apia went from Thursday 29 December 2011 to Saturday 31: who opened on Thursday evening closes on Saturday."""
    found = ask(
        "SELECT occupancy.open_times('2011-12-30T10:00:00Z', '2011-12-31T10:00:00Z', 'Thu 18:00-02:30', 'Pacific/Apia')"
    )
    assert [(span.lower, span.upper) for span in found] == [
        (datetime(2011, 12, 30, 10, tzinfo=UTC), datetime(2011, 12, 30, 12, 30, tzinfo=UTC))
    ]


def test_hours_without_weekdays_hold_on_all(ask: Ask) -> None:
    assert ask("SELECT array_agg(weekday ORDER BY weekday) FROM occupancy.opening_hours('08:00-18:00')") == [
        *range(1, 8)
    ]
