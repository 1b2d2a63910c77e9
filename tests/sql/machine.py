"""Everything that can happen to a database, in any order, against the model. Run by test_exact_counts.

The steps of a refresh are rules of their own, so that events and changes of topology fall between any two of them, and
a refresh may die at any point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime, time, timedelta
from typing import Any, ClassVar, TypeVar
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import asyncpg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.sql import series_model
from tests.sql.model import Answer, Model, Placement, Space
from tests.sql.series_model import Width

T = TypeVar("T")

# Buckets of 30 days begin on days 2, 32 and 62; Berlin loses an hour on day 14.
FIRST_DAY = datetime(2026, 3, 15, tzinfo=UTC)
# Few, since each day with events makes a chunk.
DAYS = [1, 2, 14, 32, 33, 62]

days = st.sampled_from(DAYS)
# few, so that events, resets and questions meet
quarters = st.sampled_from([0, 1, 2, 47, 95])
offsets = st.sampled_from(
    [timedelta(0), timedelta(microseconds=1), timedelta(microseconds=-1), timedelta(minutes=7)]
)
instants = st.builds(
    lambda d, q, o: FIRST_DAY + timedelta(days=d, minutes=15 * q) + o, days, quarters, offsets
)
bounds = st.none() | instants
picks = st.integers(0, 1_000_000)
# an instant of its own, or one at which something happened
moments = st.tuples(instants, st.none() | picks)
directions = st.sampled_from([1, -1])
facings = st.sampled_from(["a", "b"])
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
times_of_day = st.none() | st.sampled_from([time(0), time(2, 30), time(4), time(23, 59)])
events = st.tuples(picks, instants, st.integers(0, 2), directions)
widths = st.sampled_from(
    [Width(part=timedelta(minutes=15)), Width(part=timedelta(minutes=60)), Width(days=1), Width(months=1)]
)


class Occupancy(RuleBasedStateMachine):
    """One database that starts empty, and the model of it."""

    loop: ClassVar[asyncio.AbstractEventLoop]
    connection: ClassVar[asyncpg.Connection]
    empty: ClassVar[Any]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.holder: UUID | None = None
        self.phase = ""

    # ------------------------------------------------------------------ plumbing

    def wait(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(work)

    def value(self, sql: str, *arguments: Any) -> Any:
        return self.wait(self.connection.fetchval(sql, *arguments))

    @staticmethod
    def pick(choices: Any, number: int) -> Any:
        ordered = sorted(choices, key=repr)
        return ordered[number % len(ordered)]

    def a_space(self, number: int) -> int:
        return int(self.pick(self.model.spaces, number))

    def a_side(self, number: int) -> int | None:
        side: int | None = self.pick([None, *self.model.spaces], number)
        return side

    def an_instant(self, moment: tuple[datetime, int | None]) -> datetime:
        fresh, number = moment
        known = [when for _, when, _ in self.model.crossings] + [when for _, when in self.model.resets]
        chosen: datetime = fresh if number is None or not known else self.pick(known, number)
        return chosen

    # ------------------------------------------------------------------ topology

    @initialize()
    def start(self) -> None:
        """A building with a floor and two rooms, a door to the outside and one between the rooms, a DPU each."""
        self.wait(self.empty(self.connection))
        building = self._space(None)
        floor = self._space(building)
        rooms = [self._space(floor), self._space(floor)]
        for sides in ((rooms[0], None), (rooms[0], rooms[1])):
            doorway = self._doorway(*sides)
            dpu = self._dpu()
            self._placement(Placement(dpu, doorway, "a", None, None))

    def _space(self, parent: int | None) -> int:
        space = self.value(
            "INSERT INTO occupancy.space (organization, space_id, name, parent) "
            "VALUES (1, gen_random_uuid()::text, '', $1) RETURNING id",
            parent,
        )
        self.model.spaces[space] = Space(parent)
        return int(space)

    def _doorway(self, side_a: int | None, side_b: int | None) -> int:
        doorway = self.value(
            "INSERT INTO occupancy.doorway (organization, doorway_id, name, side_a, side_b) "
            "VALUES (1, gen_random_uuid()::text, '', $1, $2) RETURNING id",
            side_a,
            side_b,
        )
        self.model.doorways[doorway] = (side_a, side_b)
        return int(doorway)

    def _dpu(self) -> int:
        dpu = self.value(
            "INSERT INTO occupancy.dpu (organization, dpu_id, name) "
            "SELECT 1, (count(*) + 1)::text, '' FROM occupancy.dpu RETURNING id"
        )
        self.model.dpus.append(dpu)
        return int(dpu)

    def _placement(self, wanted: Placement) -> None:
        clash = any(p.dpu == wanted.dpu and p.overlaps(wanted) for p in self.model.placements.values())
        try:
            placement = self.value(
                "INSERT INTO occupancy.placement (organization, dpu, doorway, facing, valid_from, valid_to) "
                "VALUES (1, $1, $2, $3, coalesce($4::timestamptz, '-infinity'), "
                "coalesce($5::timestamptz, 'infinity')) RETURNING id",
                wanted.dpu,
                wanted.doorway,
                wanted.facing,
                wanted.start,
                wanted.end,
            )
        except asyncpg.ExclusionViolationError:
            assert clash
        else:
            assert not clash
            self.model.placements[placement] = wanted

    @precondition(lambda self: len(self.model.spaces) < 8)
    @rule(parent=picks)
    def add_space(self, parent: int) -> None:
        self._space(self.a_side(parent))

    @rule(space=picks, parent=picks)
    def move_space(self, space: int, parent: int) -> None:
        self._move(self.a_space(space), self.a_side(parent))

    @rule(space=picks, parent=picks)
    def move_branch(self, space: int, parent: int) -> None:
        """A space with others below it, which come along."""
        branches = {space.parent for space in self.model.spaces.values()} - {None}
        if branches:
            self._move(self.pick(branches, space), self.a_side(parent))

    def _move(self, moved: int, target: int | None) -> None:
        loops = moved in self.model.lineage(target)
        try:
            self.value("UPDATE occupancy.space SET parent = $2 WHERE id = $1", moved, target)
        except asyncpg.CheckViolationError:
            assert loops
        else:
            assert not loops
            self.model.spaces[moved].parent = target

    @rule(space=picks, reset_at=times_of_day, zone=zones)
    def set_daily_reset(self, space: int, reset_at: time | None, zone: str) -> None:
        chosen = self.a_space(space)
        self.value(
            "UPDATE occupancy.space SET reset_at = $2, time_zone = $3 WHERE id = $1", chosen, reset_at, zone
        )
        self.model.spaces[chosen].reset_at = reset_at
        self.model.spaces[chosen].time_zone = zone

    @precondition(lambda self: len(self.model.doorways) < 6)
    @rule(side_a=picks, side_b=picks)
    def add_doorway(self, side_a: int, side_b: int) -> None:
        sides = self.a_side(side_a), self.a_side(side_b)
        if sides[0] != sides[1]:
            self._doorway(*sides)

    @rule(doorway=picks, side_a=picks, side_b=picks)
    def rewire_doorway(self, doorway: int, side_a: int, side_b: int) -> None:
        chosen, sides = self.pick(self.model.doorways, doorway), (self.a_side(side_a), self.a_side(side_b))
        if sides[0] != sides[1]:
            self.value("UPDATE occupancy.doorway SET side_a = $2, side_b = $3 WHERE id = $1", chosen, *sides)
            self.model.doorways[chosen] = sides

    @precondition(lambda self: len(self.model.dpus) < 4)
    @rule()
    def add_dpu(self) -> None:
        self._dpu()

    @rule(dpu=picks, doorway=picks, facing=facings, start=bounds, end=bounds)
    def place(
        self, dpu: int, doorway: int, facing: str, start: datetime | None, end: datetime | None
    ) -> None:
        if start is None or end is None or start < end:
            chosen = self.pick(self.model.dpus, dpu), self.pick(self.model.doorways, doorway)
            self._placement(Placement(*chosen, facing, start, end))

    @precondition(lambda self: self.model.placements)
    @rule(placement=picks, at=instants, doorway=picks, facing=facings)
    def move_dpu(self, placement: int, at: datetime, doorway: int, facing: str) -> None:
        """End a placement at an instant and begin another one there, as one does to a sensor that is moved."""
        key = self.pick(self.model.placements, placement)
        old = self.model.placements[key]
        if not (_later(at, old.start) and (old.end is None or at < old.end)):
            return
        self.value("UPDATE occupancy.placement SET valid_to = $2 WHERE id = $1", key, at)
        moved = Placement(old.dpu, self.pick(self.model.doorways, doorway), facing, at, old.end)
        old.end = at
        self._placement(moved)

    @precondition(lambda self: self.model.placements)
    @rule(placement=picks, facing=facings)
    def turn(self, placement: int, facing: str) -> None:
        key = self.pick(self.model.placements, placement)
        self.value("UPDATE occupancy.placement SET facing = $2 WHERE id = $1", key, facing)
        self.model.placements[key].facing = facing

    @precondition(lambda self: self.model.placements)
    @rule(placement=picks)
    def remove_placement(self, placement: int) -> None:
        key = self.pick(self.model.placements, placement)
        self.value("DELETE FROM occupancy.placement WHERE id = $1", key)
        del self.model.placements[key]

    @rule(space=picks, moment=moments, count=st.integers(0, 5))
    def reset(self, space: int, moment: tuple[datetime, int | None], count: int) -> None:
        self._reset(self.a_space(space), self.an_instant(moment), count)

    def _reset(self, chosen: int, at: datetime, count: int) -> None:
        self.value(
            "INSERT INTO occupancy.reset (space, at, count) VALUES ($1, $2, $3) "
            "ON CONFLICT (space, at) DO UPDATE SET count = excluded.count",
            chosen,
            at,
            count,
        )
        self.model.resets[chosen, at] = count

    # ------------------------------------------------------------------ events

    @rule(
        batch=st.lists(events, min_size=1, max_size=12),
        again=st.lists(picks, max_size=3),
        function=st.sampled_from(["ingest_crossings", "ingest_new_crossings"]),
    )
    def ingest(self, batch: list[tuple[int, datetime, int, int]], again: list[int], function: str) -> None:
        """Events in any order, some that were sent before, some twice in the batch, some that contradict."""
        sent = [
            (self.pick(self.model.dpus, dpu), when, seq, direction) for dpu, when, seq, direction in batch
        ]
        if self.model.crossings:
            repeated = [self.pick(self.model.crossings, number) for number in again]
            sent += [(*key, self.model.crossings[key]) for key in repeated]
        expected = [self._store(*event) for event in sent]
        rows = self.wait(self.connection.fetch("SELECT id, dpu_id FROM occupancy.dpu"))
        numbers = {row["id"]: row["dpu_id"] for row in rows}
        rows = self.wait(
            self.connection.fetch(
                f"SELECT index, code FROM occupancy.{function}(1, $1, $2, $3, $4)",
                [numbers[event[0]] for event in sent],
                [event[1] for event in sent],
                [event[3] for event in sent],
                [event[2] for event in sent],
            )
        )
        outcome = {row["index"] - 1: row["code"] for row in rows}
        assert [outcome.get(place, "accepted") for place in range(len(sent))] == expected

    def _store(self, dpu: int, when: datetime, seq: int, direction: int) -> str:
        stored = self.model.crossings.setdefault((dpu, when, seq), 0)
        if not stored:
            self.model.crossings[dpu, when, seq] = direction
            return "accepted"
        return "duplicate" if stored == direction else "conflict"

    # ------------------------------------------------------------------ refresh, step by step

    @precondition(lambda self: self.holder is None)
    @rule()
    def begin_refresh(self) -> None:
        self.holder = uuid4()
        assert self.value("SELECT occupancy.take_refresh($1, '0')", self.holder)
        self.value("SELECT occupancy.claim_stale($1)", self.holder)
        self.phase = "claimed"

    @precondition(lambda self: self.phase == "claimed")
    @rule(horizon=instants)
    def move_horizon(self, horizon: datetime) -> None:
        self.value(
            "SELECT occupancy.move_horizon($1, clock_timestamp() - $2::timestamptz)", self.holder, horizon
        )
        self.phase = "moved"

    @precondition(lambda self: self.phase == "moved")
    @rule(budget=st.sampled_from([timedelta(minutes=15), timedelta(days=1), timedelta(days=30)]))
    def repair(self, budget: timedelta) -> None:
        self.value("SELECT occupancy.repair_next($1, $2)", self.holder, budget)

    @precondition(lambda self: self.phase == "moved")
    @rule(step=st.sampled_from([timedelta(minutes=15), timedelta(days=1), timedelta(days=70)]))
    def materialize(self, step: timedelta) -> None:
        self.value("SELECT occupancy.materialize_next($1, $2)", self.holder, step)

    @precondition(lambda self: self.holder is not None)
    @rule(complete=st.booleans())
    def end_refresh(self, complete: bool) -> None:
        """Also in the middle: that is a refresh that died and whose lease has run out."""
        self.value("SELECT occupancy.end_refresh($1, $2)", self.holder, complete)
        self.holder, self.phase = None, ""

    @precondition(lambda self: self.holder is None)
    @rule(horizon=instants)
    def refresh(self, horizon: datetime) -> None:
        self._refresh(horizon)

    def _refresh(self, horizon: datetime) -> None:
        holder = uuid4()
        assert self.value("SELECT occupancy.take_refresh($1, '0')", holder)
        self.value("SELECT occupancy.claim_stale($1)", holder)
        self.value("SELECT occupancy.move_horizon($1, clock_timestamp() - $2::timestamptz)", holder, horizon)
        while self.value("SELECT occupancy.repair_next($1, '30 days')", holder):
            pass
        while self.value("SELECT occupancy.materialize_next($1, '40 days')", holder):
            pass
        self.value("SELECT occupancy.end_refresh($1, true)", holder)

    # ------------------------------------------------------------------ old data

    @rule(number=picks, holds=st.sampled_from(["crossing", "flow_15m"]))
    def compress(self, number: int, holds: str) -> None:
        """A chunk of any age, also for the second time, after rows came into it."""
        chunks = self.wait(
            self.connection.fetch(
                "SELECT chunk::text FROM occupancy.stored_chunks() WHERE holds = $1 AND (partial OR NOT compressed)",
                holds,
            )
        )
        if chunks:
            chosen = self.pick([row["chunk"] for row in chunks], number)
            assert self.value("SELECT occupancy.compress_one($1::text::regclass)", chosen)

    # ------------------------------------------------------------------ questions

    @rule(moment=moments, space=picks)
    def ask_for_one(self, moment: tuple[datetime, int | None], space: int) -> None:
        self._compare_one(self.a_space(space), self.an_instant(moment))

    def _compare_one(self, chosen: int, at: datetime) -> None:
        row = self.wait(self.connection.fetchrow("SELECT * FROM occupancy.count_at($1, $2)", chosen, at))
        assert answer(row) == self.model.count(chosen, at)

    @rule(moment=moments)
    def ask_for_all(self, moment: tuple[datetime, int | None]) -> None:
        self._compare(self.an_instant(moment))

    @rule(moment=moments, space=picks, width=widths, days=st.integers(1, 40))
    def ask_for_a_series(
        self, moment: tuple[datetime, int | None], space: int, width: Width, days: int
    ) -> None:
        self._compare_series(self.a_space(space), self.an_instant(moment), width, days)

    def _compare_series(self, chosen: int, start: datetime, width: Width, days: int) -> None:
        zone = self.model.spaces[chosen].time_zone
        end = start + (timedelta(hours=2) if width.part else timedelta(days=days))
        rows = self.wait(
            self.connection.fetch(
                "SELECT * FROM occupancy.series(ARRAY[$1::int], $2, $3, $4::text::interval) ORDER BY bucket_start",
                chosen,
                start,
                end,
                str(width),
            )
        )
        cuts = series_model.cuts(start, end, width, ZoneInfo(zone))
        expected = series_model.series(self.model, chosen, cuts, [], ZoneInfo(zone), datetime.now(UTC))
        assert [_course(row) for row in rows] == [
            (b.start, b.end, max(b.first, 0), max(b.last, 0), b.min, max(b.max, 0), b.entries, b.exits)
            for b in expected
        ]
        for row, bucket in zip(rows, expected, strict=True):
            assert abs(row["mean"] - max(bucket.mean, 0)) <= 1e-9 * (1 + abs(bucket.mean))

    def _compare(self, at: datetime) -> None:
        rows = self.wait(
            self.connection.fetch("SELECT * FROM occupancy.counts_at($1, $2)", list(self.model.spaces), at)
        )
        given = {row["space"]: answer(row) for row in rows}
        assert given == {space: self.model.count(space, at) for space in self.model.spaces}

    def teardown(self) -> None:
        if not self.model.spaces:
            return
        if self.holder is not None:
            self.end_refresh(complete=False)
        end = FIRST_DAY + timedelta(days=70)
        self._compare(end)
        self._refresh(end)
        self._compare(end)
        wrong = self.wait(
            self.connection.fetch("SELECT * FROM occupancy.check_flow('-infinity', 'infinity')")
        )
        assert wrong == []


def _later(at: datetime, start: datetime | None) -> bool:
    return start is None or start < at


def _course(row: asyncpg.Record) -> tuple[Any, ...]:
    return tuple(
        row[name]
        for name in ("bucket_start", "bucket_end", "first", "last", "net_min", "max", "entries", "exits")
    )


def answer(row: asyncpg.Record | None) -> Answer:
    """What count_at answered, as the model says it."""
    assert row is not None
    assert row["count"] == max(row["net"], 0)
    assert row["aggregated_crossings"] + row["tail_crossings"] == row["entries"] + row["exits"]
    return Answer(row["net"], row["entries"], row["exits"], row["since"], row["last_crossing"])
