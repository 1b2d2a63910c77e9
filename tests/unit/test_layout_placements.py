"""Placements of one DPU become others step by step, without ever overlapping."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from occupancy.layout.placements import Hung, paired, steps

START = datetime(2025, 1, 1, tzinfo=UTC)


def at(day: int | None) -> datetime | None:
    return None if day is None else START + timedelta(days=day)


def hung(doorway: str, start: int | None, end: int | None, facing: str = "a") -> Hung:
    return Hung(doorway, facing, at(start), at(end))


@st.composite
def histories(draw: st.DrawFn) -> list[Hung]:
    days = sorted(draw(st.sets(st.integers(0, 12), max_size=7)))
    edges: list[int | None] = [draw(st.none() | st.just(-1)), *days, draw(st.none() | st.just(13))]
    spans = list(pairwise(edges))
    kept = draw(st.lists(st.sampled_from(spans), unique=True))
    return [hung(draw(st.sampled_from("XY")), start, end, draw(st.sampled_from("ab"))) for start, end in kept]


class Table:
    """As strict as the constraint of the database: no two rows overlap, after any single row."""

    def __init__(self, rows: list[Hung]) -> None:
        self.rows = list(rows)

    def remove(self, row: Hung) -> None:
        self.rows.remove(row)

    def add(self, row: Hung) -> None:
        self.rows.append(row)
        assert not any(one.overlaps(other) for one, other in combinations(self.rows, 2))


def run(stored: list[Hung], wanted: list[Hung]) -> set[Hung]:
    table = Table(stored)
    todo = steps(paired(stored, wanted))
    for row in todo.removed:
        table.remove(row)
    for old, new in (*todo.shrunk, *todo.rehung):
        table.remove(old)
        table.add(new)
    for row in todo.added:
        table.add(row)
    assert len(table.rows) == len(set(table.rows))
    return set(table.rows)


@given(histories(), histories())
def test_any_history_becomes_any_other_without_an_overlap(stored: list[Hung], wanted: list[Hung]) -> None:
    assert run(stored, wanted) == set(wanted)


@given(histories())
def test_equal_histories_need_no_step(history: list[Hung]) -> None:
    assert list(paired(history, reversed(history))) == []


def test_a_moved_boundary_changes_only_the_time_between() -> None:
    stored = [hung("X", None, 5), hung("Y", 5, None)]
    wanted = [hung("X", None, 7), hung("Y", 7, None)]
    todo = steps(paired(stored, wanted))
    assert todo.shrunk == [(hung("Y", 5, None), hung("Y", 7, None))]
    assert todo.rehung == [(hung("X", None, 5), hung("X", None, 7))]
    assert not todo.removed
    assert not todo.added


def test_a_placement_that_stays_over_its_doorway_is_preferred() -> None:
    stored = [hung("X", 0, None)]
    wanted = [hung("Y", 0, 5), hung("X", 5, None)]
    todo = steps(paired(stored, wanted))
    assert todo.shrunk == [(hung("X", 0, None), hung("X", 5, None))]
    assert not todo.rehung
    assert todo.added == [hung("Y", 0, 5)]


def test_a_turned_sensor_keeps_its_placement() -> None:
    todo = steps(paired([hung("X", 0, 5, "a")], [hung("X", 0, 5, "b")]))
    assert todo.rehung == [(hung("X", 0, 5, "a"), hung("X", 0, 5, "b"))]
    assert not todo.shrunk
