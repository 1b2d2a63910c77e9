"""Every column of a series equals the model: events, resets, changes of the tree, time zones, hours, refresh states."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from occupancy import schema
from tests.conftest import empty
from tests.effort import examples
from tests.sql import series_model
from tests.sql.building import two_rooms
from tests.sql.model import Model, Placement, Space
from tests.sql.series_model import Bucket, Hours, Width

# Where clocks change, and a day on which they do: events lie around it.
CHANGES = {
    "Europe/Berlin": "2026-03-29T01:00:00Z",
    "America/New_York": "2025-11-02T06:00:00Z",
    "Asia/Kolkata": "2026-05-31T18:30:00Z",
    "Pacific/Apia": "2011-12-30T10:00:00Z",
    "Australia/Lord_Howe": "2026-04-04T15:00:00Z",
}
DAYS = (-2, -1, 0, 1)
WIDTHS = [
    *(Width(part=timedelta(minutes=minutes)) for minutes in (1, 5, 15, 60, 360)),
    *(Width(days=days) for days in (1, 2, 7)),
    *(Width(months=months) for months in (1, 12)),
]
# Below an hour only over a few of them: the model looks at every minute.
RANGES = {width: timedelta(hours=3) if width.part and width.part < timedelta(hours=1) else timedelta(days=5)
          for width in WIDTHS}  # fmt: skip
ROOMS = 3

minutes = st.integers(-2 * 1440, 2 * 1440)
# few, so that events, resets, edges of buckets and questions meet
offsets = st.one_of(
    st.builds(
        lambda day, quarter, step: timedelta(days=day, minutes=15 * quarter) + step,
        st.sampled_from(DAYS),
        st.sampled_from([0, 1, 2, 32, 71, 72, 95]),
        st.sampled_from(
            [timedelta(0), timedelta(microseconds=1), timedelta(microseconds=-1), timedelta(minutes=7)]
        ),
    ),
    minutes.map(lambda number: timedelta(minutes=number, seconds=17)),
)
events = st.tuples(st.integers(1, ROOMS), offsets, st.sampled_from([1, -1]))
resets = st.tuples(st.integers(1, ROOMS + 1), offsets, st.integers(0, 4))
daily = st.none() | st.sampled_from([time(0), time(2, 30), time(4), time(4, 7)])
times = st.sampled_from([time(), time(2, 30), time(8), time(18)])
rules = st.builds(
    Hours,
    st.lists(st.integers(0, 6), min_size=2, max_size=6, unique=True).map(tuple),
    times,
    st.none() | times,
)


@dataclass(frozen=True)
class Scenario:
    """What happens to a floor with three rooms in a row, in this order; offsets from a change of clocks."""

    zone: str
    early: list[tuple[int, timedelta, int]]
    horizon: timedelta
    late: list[tuple[int, timedelta, int]]
    turned: int | None  # the door whose DPU turns out to hang the wrong way round
    moved: tuple[int, timedelta] | None  # a DPU that moves to the next door
    outside: bool  # the last room turns out not to be on the floor
    resets: list[tuple[int, timedelta, int]]
    daily: time | None
    repaired: int  # so many steps of a refresh are done at the end
    materialized: timedelta | None


scenarios = st.builds(
    Scenario,
    zone=st.sampled_from(sorted(CHANGES)),
    early=st.lists(events, max_size=25),
    horizon=offsets,
    late=st.lists(events, max_size=10),
    turned=st.none() | st.integers(1, ROOMS),
    moved=st.none() | st.tuples(st.integers(1, ROOMS), offsets),
    outside=st.booleans(),
    resets=st.lists(resets, max_size=4, unique_by=lambda reset: reset[:2]),
    daily=daily,
    repaired=st.integers(0, 2),
    materialized=st.none() | offsets,
)


@dataclass(frozen=True)
class Question:
    start: timedelta
    length: float  # of the longest range that is asked for buckets of this width
    width: Width
    zone: str | None  # None: that of the scenario
    hours: list[Hours]


questions = st.builds(
    Question,
    start=offsets,
    length=st.floats(0.01, 1),
    width=st.sampled_from(WIDTHS),
    zone=st.none() | st.sampled_from(["UTC", "Asia/Kolkata"]),
    hours=st.lists(rules, max_size=2),
)


class World:
    """The database and the model of it, in step."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: asyncpg.Connection) -> None:
        self.loop, self.connection = loop, connection
        self.model = Model()
        self.base = self.now = datetime.now(UTC)

    def run(self, sql: str, *arguments: Any) -> Any:
        return self.loop.run_until_complete(self.connection.fetchval(sql, *arguments))

    def run_script(self, sql: str) -> None:
        self.loop.run_until_complete(self.connection.execute(sql))

    def rows(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        return list(self.loop.run_until_complete(self.connection.fetch(sql, *arguments)))

    def play(self, scenario: Scenario) -> None:
        self.loop.run_until_complete(empty(self.connection))
        self.model = Model()
        self.base = datetime.fromisoformat(CHANGES[scenario.zone])
        self._build(scenario)
        self._ingest(scenario.early)
        self._refresh(scenario.horizon)
        self._correct(scenario)
        self._ingest(scenario.late)
        if scenario.materialized is not None:
            self._refresh(scenario.materialized, scenario.repaired)

    def _build(self, scenario: Scenario) -> None:
        """Floor 1 with rooms 2 to 4; door i joins room i + 1 and the room before it, the first one outside."""
        for space in range(1, ROOMS + 2):
            parent = None if space == 1 else 1
            self.run(
                "INSERT INTO occupancy.space (organization, space_id, name, parent, time_zone, reset_at, capacity) "
                "VALUES (1, $1, '', $2, $3, $4, $5)",
                str(space),
                parent,
                scenario.zone,
                scenario.daily,
                None if space == 1 else space - 2,
            )
            self.model.spaces[space] = Space(parent, scenario.daily, scenario.zone)
        for door in range(1, ROOMS + 1):
            sides = door + 1, None if door == 1 else door
            self.run(
                "INSERT INTO occupancy.doorway (organization, doorway_id, name, side_a, side_b) "
                "VALUES (1, $1, '', $2, $3)",
                str(door),
                *sides,
            )
            self.run("INSERT INTO occupancy.dpu (organization, dpu_id, name) VALUES (1, $1, '')", str(door))
            self.run(
                "INSERT INTO occupancy.placement (organization, dpu, doorway, facing) VALUES (1, $1, $1, 'a')",
                door,
            )
            self.model.doorways[door] = sides
            self.model.dpus.append(door)
            self.model.placements[door] = Placement(door, door, "a", None, None)

    def _ingest(self, batch: list[tuple[int, timedelta, int]]) -> None:
        if batch:
            self.run(
                "SELECT count(*) FROM occupancy.ingest_crossings(1, $1, $2, $3, $4)",
                [str(dpu) for dpu, _, _ in batch],
                [self.base + offset for _, offset, _ in batch],
                [direction for _, _, direction in batch],
                [0] * len(batch),
            )
        for dpu, offset, direction in batch:
            self.model.crossings.setdefault((dpu, self.base + offset, 0), direction)

    def _correct(self, scenario: Scenario) -> None:
        if scenario.turned is not None:
            self.run("UPDATE occupancy.placement SET facing = 'b' WHERE id = $1", scenario.turned)
            self.model.placements[scenario.turned].facing = "b"
        if scenario.moved is not None:
            dpu, offset = scenario.moved
            at, onto = self.base + offset, dpu % ROOMS + 1
            self.run("UPDATE occupancy.placement SET valid_to = $2 WHERE dpu = $1", dpu, at)
            self.run(
                "INSERT INTO occupancy.placement (organization, dpu, doorway, facing, valid_from) "
                "VALUES (1, $1, $2, 'a', $3)",
                dpu,
                onto,
                at,
            )
            self.model.placements[dpu] = replace(self.model.placements[dpu], end=at)
            self.model.placements[-dpu] = Placement(dpu, onto, "a", at, None)
        if scenario.outside:
            self.run("UPDATE occupancy.space SET parent = NULL WHERE id = $1", ROOMS + 1)
            self.model.spaces[ROOMS + 1].parent = None
        for space, offset, count in scenario.resets:
            self.run(
                "INSERT INTO occupancy.reset (space, at, count) VALUES ($1, $2, $3)",
                space,
                self.base + offset,
                count,
            )
            self.model.resets[space, self.base + offset] = count

    def _refresh(self, horizon: timedelta, repairs: int | None = None) -> None:
        """A refresh, with so many steps of repair, or all of them."""
        holder = uuid4()
        assert self.run("SELECT occupancy.take_refresh($1, '0')", holder)
        self.run("SELECT occupancy.claim_stale($1)", holder)
        self.run(
            "SELECT occupancy.move_horizon($1, clock_timestamp() - $2::timestamptz)",
            holder,
            self.base + horizon,
        )
        done = 0
        while done != repairs and self.run("SELECT occupancy.repair_next($1, '1 day')", holder):
            done += 1
        while self.run("SELECT occupancy.materialize_next($1, '40 days')", holder):
            pass
        self.run("SELECT occupancy.end_refresh($1, true)", holder)

    def buckets_that_differ(self, question: Question) -> int:
        """How many buckets differ between series and bucket_of, which views call for each row."""
        start = self.base + question.start
        differing: int = self.run(
            """
            SELECT count(*)
            FROM (
              SELECT * FROM occupancy.series($1, $2, $3, $4::text::interval, $5)
              -- some of them: the function is made for one
              ORDER BY md5(space::text || bucket_start) LIMIT $6
            ) AS many
            CROSS JOIN LATERAL occupancy.bucket_of(many.space, many.bucket_start, many.bucket_end) AS one
            WHERE (many.first, many.last, many.min, many.max, many.net_min, many.entries, many.exits)
                IS DISTINCT FROM (one.first, one.last, one.min, one.max, one.net_min, one.entries, one.exits)
              OR abs(many.mean - one.mean) > 1e-9 * (1 + many.mean)
              OR abs(many.seconds - one.seconds) > 1e-6
              OR abs(many.utilization - one.utilization) > 1e-9 * (1 + many.mean)
              OR many.peak_utilization IS DISTINCT FROM one.peak_utilization
            """,
            list(self.model.spaces),
            start,
            start + RANGES[question.width] * question.length,
            str(question.width),
            question.zone,
            examples(40),
        )
        return differing

    def series(self, question: Question) -> dict[int, list[Bucket]]:
        start = self.base + question.start
        rows = self.rows(
            "SELECT now() AS now, * FROM occupancy.series($1, $2, $3, $4::text::interval, $5, $6) "
            "ORDER BY space, bucket_start",
            list(self.model.spaces),
            start,
            start + RANGES[question.width] * question.length,
            str(question.width),
            question.zone,
            "; ".join(str(rule) for rule in question.hours) or None,
        )
        found: dict[int, list[Bucket]] = {space: [] for space in self.model.spaces}
        for row in rows:
            # the bucket of this year has not ended
            self.now = row["now"]
            _check_derived(row)
            found[row["space"]].append(_bucket(row))
        return found

    def expected(self, question: Question, scenario: Scenario) -> dict[int, list[Bucket]]:
        start = self.base + question.start
        zone = ZoneInfo(question.zone or scenario.zone)
        cuts = series_model.cuts(
            start, start + RANGES[question.width] * question.length, question.width, zone
        )
        return {
            space: series_model.series(self.model, space, cuts, question.hours, zone, self.now)
            for space in self.model.spaces
        }


def _bucket(row: asyncpg.Record) -> Bucket:
    """The net columns of a row as far as they can be told: what is below 0 is told by net_min only."""
    return Bucket(
        row["bucket_start"], row["bucket_end"], row["seconds"], row["first"], row["last"], row["net_min"], row["max"],
        row["mean"], row["entries"], row["exits"],
    )  # fmt: skip


def _check_derived(row: asyncpg.Record) -> None:
    assert row["min"] == max(row["net_min"], 0)
    # The floor has no capacity, the first room one of 0.
    if row["space"] <= 2:
        assert row["utilization"] is None
        assert row["peak_utilization"] is None
    else:
        assert row["utilization"] == pytest.approx(row["mean"] / (row["space"] - 2))
        assert row["peak_utilization"] == row["max"] / (row["space"] - 2)


def _never_below_zero(bucket: Bucket) -> Bucket:
    return replace(
        bucket,
        first=max(bucket.first, 0),
        last=max(bucket.last, 0),
        max=max(bucket.max, 0),
        mean=max(bucket.mean, 0.0),
    )


def _compare(world: World, question: Question, scenario: Scenario) -> None:
    found, expected = world.series(question), world.expected(question, scenario)
    for space, buckets in expected.items():
        assert [bucket.start for bucket in found[space]] == [bucket.start for bucket in buckets]
        for given_bucket, bucket in zip(found[space], map(_never_below_zero, buckets), strict=True):
            # sums of doubles
            assert given_bucket.mean == pytest.approx(bucket.mean, rel=1e-9, abs=1e-9)
            assert given_bucket.seconds == pytest.approx(bucket.seconds, abs=1e-6)
            assert replace(given_bucket, mean=bucket.mean, seconds=bucket.seconds) == bucket
    assert world.buckets_that_differ(question) == 0


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    native = request.node.get_closest_marker("native") is not None
    url: str = request.getfixturevalue("native_url" if native else "migrated_url")
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(asyncpg.connect(url))
    yield World(loop, connection)
    loop.run_until_complete(schema.apply_logic(connection))
    loop.run_until_complete(empty(connection))
    loop.run_until_complete(connection.close())
    loop.close()


def _hunt(world: World, rounds: int, phases: Sequence[Phase] = tuple(Phase)) -> None:
    @settings(
        max_examples=rounds,
        phases=phases,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        print_blob=True,
    )
    @given(scenario=scenarios, asked=st.lists(questions, min_size=3, max_size=6))
    def every_series_equals_the_model(scenario: Scenario, asked: list[Question]) -> None:
        world.play(scenario)
        for question in asked:
            _compare(world, question, scenario)

    every_series_equals_the_model()


def test_every_column_equals_the_model(world: World) -> None:
    # Hypothesis draws few clashes of instants at first.
    _hunt(world, rounds=examples(120))


# In this file of sql/functions, this text becomes that.
_MUTATIONS = {
    "a row of an aggregate ends at another instant": (
        "parts_of_crossings", "INTERVAL ''15 minutes'' - time", "INTERVAL ''16 minutes'' - time",
    ),
    "a day takes the lowest of its quarters for its own": (
        "folded", "least(min(net_before + net_low)", "least(min(net_low)",
    ),
    "marks are ignored": ("pieces", "ON stale.space = wanted.space AND", "ON false AND"),
    "the horizon is ignored": (
        "pieces", "least(edges[cardinality(edges)], horizon.read_before)", "edges[cardinality(edges)]",
    ),
    "a reset does not divide a bucket": ("pieces", "WHERE bucket.start <> reset.at", "WHERE false"),
    "stated resets are ignored": ("resets_between", "WHERE reset.space = ANY (spaces) AND", "WHERE false AND"),
    "a crossing at the instant of a reset counts": (
        "series_of_cuts", "coalesce(segment.stated - coalesce(flow.net_first, 0), base.net)",
        "coalesce(segment.stated, base.net)",
    ),
    "it is always open": ("series_of_cuts", "(open_times IS NULL OR open_times @> course.start)", "true"),
    "a DPU that was moved counts where it hung before": (
        "parts", "least(effect.valid_to, piece.to_time) AS to_time", "piece.to_time AS to_time",
    ),
    "the net before the range is forgotten": ("nets_before", "base.reset_count + coalesce(", "0 * coalesce("),
    "one bucket reads stale rows": ("bucket_of", "WHERE stale.space = bucket_of.space", "WHERE false"),
    "one bucket forgets a daily reset": ("bucket_of", ") < bucket_of.bucket_start", ") < 'infinity'"),
    "one bucket counts what was before its reset": ("net_before", "- flow.net_first", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", _MUTATIONS)
def test_what_a_mutation_breaks_is_there(name: str) -> None:
    function, old, _ = _MUTATIONS[name]
    assert old in (schema.sql_directory() / "functions" / f"{function}.sql").read_text()


@pytest.mark.native  # hunting takes hundreds of scenarios: too many for the embedded database
@pytest.mark.parametrize("name", _MUTATIONS)
def test_the_model_notices_when(name: str, world: World) -> None:
    function, old, new = _MUTATIONS[name]
    text = (schema.sql_directory() / "functions" / f"{function}.sql").read_text()
    world.run_script(text.replace(old, new))
    with pytest.raises(Exception):  # noqa: B017, PT011 -- a wrong number, or an error of the broken database
        _hunt(world, rounds=600, phases=[Phase.generate])


async def _one_room(connection: asyncpg.Connection, reset_at: time | None = None) -> int:
    space: int = await connection.fetchval(
        "INSERT INTO occupancy.space (organization, space_id, name, reset_at) VALUES (1, 'room', '', $1) RETURNING id",
        reset_at,
    )
    return space


async def test_a_statement_at_the_instant_of_a_daily_reset_holds(connection: asyncpg.Connection) -> None:
    space = await _one_room(connection, time(4))
    at = datetime(2026, 3, 2, 4, tzinfo=UTC)
    await connection.execute("INSERT INTO occupancy.reset (space, at, count) VALUES ($1, $2, 7)", space, at)
    rows = await connection.fetch(
        "SELECT first, last FROM occupancy.series(ARRAY[$1::int], $2, $3, '1 hour') ORDER BY bucket_start",
        space,
        at - timedelta(hours=1),
        at + timedelta(hours=1),
    )
    assert [tuple(row) for row in rows] == [(0, 0), (7, 7)]


async def test_a_range_without_a_single_event_has_its_buckets(connection: asyncpg.Connection) -> None:
    space = await _one_room(connection)
    rows = await connection.fetch(
        "SELECT * FROM occupancy.series(ARRAY[$1::int], '2026-03-02Z', '2026-03-03Z', '6 hours')", space
    )
    assert len(rows) == 4
    assert {(row["min"], row["max"], row["mean"], row["entries"], row["utilization"]) for row in rows} == {
        (0, 0, 0.0, 0, None)
    }


async def test_what_has_not_begun_is_left_out_and_what_has_not_ended_is_looked_at_until_now(
    connection: asyncpg.Connection,
) -> None:
    space = await _one_room(connection)
    rows = await connection.fetch(
        "SELECT *, now() AS now FROM occupancy.series("
        "ARRAY[$1::int], now() - INTERVAL '1 hour', now() + INTERVAL '3 hours', '1 hour') ORDER BY bucket_start",
        space,
    )
    assert len(rows) == 2
    assert rows[-1]["bucket_end"] - rows[-1]["bucket_start"] == timedelta(hours=1)
    looked_at = (rows[-1]["now"] - rows[-1]["bucket_start"]).total_seconds()
    assert rows[-1]["seconds"] == pytest.approx(looked_at, abs=1e-6)


async def test_a_bucket_finer_than_what_is_stored_is_refused(connection: asyncpg.Connection) -> None:
    """Where crossings have been dropped: quarters of an hour are known, minutes are not."""
    await two_rooms(connection)
    old, new = datetime(2026, 1, 5, 9, 7, tzinfo=UTC), datetime(2026, 3, 2, 9, 7, tzinfo=UTC)
    await connection.execute(
        "SELECT * FROM occupancy.ingest_crossings(1, '{283,283}', $1, '{1,1}', '{0,0}')", [old, new]
    )
    await connection.execute('CALL occupancy.refresh_aggregates(0, \'{"lag": "0"}\')')
    ask = "SELECT max FROM occupancy.series('{1}', $1, $2, $3::text::interval) ORDER BY bucket_start"
    quarter = old.replace(minute=0), old.replace(minute=15)
    kept = [row["max"] for row in await connection.fetch(ask, *quarter, "5 minutes")]
    assert kept == [0, 1, 1]
    await connection.execute("SELECT drop_chunks('occupancy.crossing', TIMESTAMPTZ '2026-02-01')")

    with pytest.raises(asyncpg.InvalidParameterValueError, match="no longer stored") as refused:
        await connection.fetch(ask, *quarter, "5 minutes")
    assert refused.value.column_name == "interval"
    assert [row["max"] for row in await connection.fetch(ask, *quarter, "15 minutes")] == [1]
    # where they are still there, and where there never were any
    assert await connection.fetch(ask, new.replace(minute=0), new.replace(minute=15), "5 minutes")
    assert await connection.fetch(ask, old - timedelta(days=1), quarter[0], "5 minutes")


async def test_the_count_before_a_range_is_refused_where_its_crossings_are_gone(
    connection: asyncpg.Connection,
) -> None:
    """A reset inside a quarter of an hour: only the crossings could tell which of them came after it."""
    await two_rooms(connection)
    old, new = datetime(2026, 1, 5, 9, 8, tzinfo=UTC), datetime(2026, 3, 2, 9, 7, tzinfo=UTC)
    await connection.execute(
        "SELECT * FROM occupancy.ingest_crossings(1, '{283,283}', $1, '{1,1}', '{0,0}')", [old, new]
    )
    await connection.execute(
        "INSERT INTO occupancy.reset (space, at, count) VALUES (1, $1, 0)", old - timedelta(minutes=1)
    )
    await connection.execute('CALL occupancy.refresh_aggregates(0, \'{"lag": "0"}\')')
    ask = "SELECT first, last FROM occupancy.series('{1}', $1, $2, '1 day')"
    day = new.replace(hour=0, minute=0), new.replace(hour=23)
    assert [tuple(row) for row in await connection.fetch(ask, *day)] == [(1, 2)]
    await connection.execute("SELECT drop_chunks('occupancy.crossing', TIMESTAMPTZ '2026-02-01')")
    with pytest.raises(asyncpg.InvalidParameterValueError, match="no longer stored"):
        await connection.fetch(ask, *day)


async def test_more_people_than_an_integer_holds(
    connection: asyncpg.Connection,
) -> None:
    await _one_room(connection)
    table = await connection.fetchval("SELECT occupancy.flow_table('1d')::text")
    for day in (2, 3):
        await connection.execute(
            f"INSERT INTO {table} (space, bucket, entries, exits, last_crossing, person_microseconds, net_first, "
            f"net_high, net_low) VALUES (1, '2026-03-0{day}Z', 1200000000, 1200000000, '2026-03-02Z', 0, 0, 0, 0)"
        )
    await connection.execute("DELETE FROM occupancy.stale")
    await connection.execute(
        "UPDATE occupancy.horizon SET write_before = '2026-03-09Z', read_before = '2026-03-09Z'"
    )
    rows = await connection.fetch(
        "SELECT entries FROM occupancy.series('{1}', '2026-03-02Z', '2026-03-09Z', '7 days')"
    )
    assert [row["entries"] for row in rows] == [2_400_000_000]


@pytest.mark.parametrize(
    "question",
    [
        "series('{1}', NULL, '2026-01-01Z', '1 day')",
        "series('{1}', '2026-01-01Z', NULL, '1 day')",
        "series('{1}', '2026-01-01Z', '2026-01-02Z', NULL)",
        "totals('{1}', NULL, '2026-01-01Z')",
        "profile(1, '2026-01-01Z', NULL)",
        "entries_by_doorway(1, NULL, '2026-01-01Z')",
    ],
)
async def test_null_is_no_answer(connection: asyncpg.Connection, question: str) -> None:
    await _one_room(connection)
    with pytest.raises(asyncpg.InvalidParameterValueError) as refused:
        await connection.fetch(f"SELECT * FROM occupancy.{question}")
    assert refused.value.column_name in {"start", "end", "interval"}


async def test_more_than_anybody_can_wait_for_is_refused(connection: asyncpg.Connection) -> None:
    await connection.execute(
        "INSERT INTO occupancy.space (organization, space_id, name, reset_at) "
        "SELECT 1, 'room-' || i, '', '04:00' FROM generate_series(1, 300) AS i"
    )
    with pytest.raises(asyncpg.InvalidParameterValueError, match="ask for a part of it") as refused:
        await connection.fetch(
            "SELECT * FROM occupancy.totals(ARRAY(SELECT id FROM occupancy.space), '1900-01-01Z', now())"
        )
    assert refused.value.column_name == "start"


@pytest.mark.parametrize(
    ("start", "end", "width", "field"),
    [
        ("-infinity", "2026-01-01Z", "1 day", "start"),
        ("2026-01-01Z", "infinity", "1 day", "start"),
        ("2026-01-02Z", "2026-01-01Z", "1 day", "end"),
        ("1901-01-01Z", "2026-01-01Z", "1 minute", "interval"),
    ],
)
async def test_a_range_that_nobody_can_mean_is_refused(
    connection: asyncpg.Connection, start: str, end: str, width: str, field: str
) -> None:
    space = await _one_room(connection)
    with pytest.raises(asyncpg.InvalidParameterValueError) as refused:
        await connection.fetch(
            f"SELECT * FROM occupancy.series('{{{space}}}', '{start}', '{end}', '{width}')"
        )
    assert refused.value.column_name == field
