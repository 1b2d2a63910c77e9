"""What changes between what is stored and what is wanted."""

from __future__ import annotations

from typing import Any

import pytest

from occupancy.errors import InvalidInput, UnknownReference
from occupancy.layout import Change, differences, parse

JANUARY, FEBRUARY, MARCH = (f"2025-0{month}-01T00:00:00Z" for month in (1, 2, 3))


def spaces(*tree: tuple[str, str | None], **more: Any) -> dict[str, Any]:
    return {"spaces": [{"space_id": space_id, "parent_id": parent, **more} for space_id, parent in tree]}


def usual(*tree: tuple[str, str | None]) -> dict[str, Any]:
    """The spaces as the database holds them."""
    stored = spaces(*tree, kind="space", time_zone="UTC", capacity=None, reset_at=None)
    for space in stored["spaces"]:
        space["name"] = space["space_id"]
    return stored


def between(stored: dict[str, Any], wanted: dict[str, Any]) -> list[Change]:
    return differences(parse(stored), parse(wanted))


def said(changes: list[Change]) -> list[str]:
    return [str(change) for change in changes]


DOORWAY = {"doorways": [{"doorway_id": "X", "name": "X", "side_a": "A", "side_b": None}]}


def dpu(*placements: tuple[str | None, str | None], facing: str = "a") -> dict[str, Any]:
    hung = [{"doorway_id": "X", "facing": facing, "from": start, "to": end} for start, end in placements]
    return {"dpus": [{"dpu_id": "283", "name": "283", "placements": hung}]}


def test_new_things_get_the_usual_values_parents_first() -> None:
    wanted = {
        "spaces": [
            {"space_id": "C", "parent_id": "B", "capacity": 3},
            {"space_id": "B", "parent_id": "A"},
            {"space_id": "A", "time_zone": "Asia/Tokyo"},
        ],
        "doorways": [{"doorway_id": "X", "side_a": "C", "side_b": None}],
        "dpus": [{"dpu_id": "283"}],
    }
    changes = between({}, wanted)
    assert [(change.action, change.kind, change.id) for change in changes] == [
        ("create", "space", "A"),
        ("create", "space", "B"),
        ("create", "space", "C"),
        ("create", "doorway", "X"),
        ("create", "dpu", "283"),
    ]
    assert changes[2].new == {
        "space_id": "C",
        "name": "C",
        "kind": "space",
        "parent_id": "B",
        "time_zone": "Asia/Tokyo",
        "capacity": 3,
        "reset_at": None,
    }


def test_what_is_not_named_is_left_alone() -> None:
    stored = {**usual(("A", None), ("B", "A")), **DOORWAY, **dpu((None, None))}
    stored["spaces"][0]["capacity"] = 5
    wanted = {"spaces": [{"space_id": "A", "name": None, "kind": None}], "dpus": [{"dpu_id": "283"}]}
    assert between(stored, wanted) == []


def test_an_update_shows_old_and_new_of_what_differs() -> None:
    stored = usual(("A", None))
    wanted = {"spaces": [{"space_id": "A", "capacity": 3, "reset_at": "04:00"}]}
    (change,) = between(stored, wanted)
    assert change.action == "update"
    assert list(change.fields) == ["capacity", "reset_at"]
    assert change.fields["capacity"] == (None, 3)
    assert str(change) == "update space A: capacity null -> 3, reset_at null -> 04:00"


def test_a_null_takes_a_value_away() -> None:
    stored = usual(("A", None), ("B", "A"))
    stored["spaces"][1]["capacity"] = 3
    wanted = {"spaces": [{"space_id": "B", "parent_id": None, "capacity": None}]}
    assert said(between(stored, wanted)) == ["move space B: parent_id A -> null, capacity 3 -> null"]


def test_two_spaces_may_change_places() -> None:
    stored = usual(("A", None), ("B", "A"))
    assert said(between(stored, spaces(("A", "B"), ("B", None)))) == [
        "move space B: parent_id A -> null",
        "move space A: parent_id null -> B",
    ]


@pytest.mark.parametrize(
    ("tree", "field"),
    [
        ([("C", "C")], "spaces[0].parent_id"),
        ([("C", "D"), ("D", "C")], "spaces[0].parent_id"),
        ([("B", None), ("A", "C"), ("C", "A")], "spaces[1].parent_id"),
        ([("A", "B")], "spaces[0].parent_id"),
        ([("C", "D"), ("D", "E"), ("E", "D")], "spaces[0].parent_id"),
    ],
)
def test_a_space_inside_itself_is_refused(tree: list[tuple[str, str | None]], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        between(usual(("A", None), ("B", "A")), spaces(*tree))
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (spaces(("A", None), ("B", "Z")), "spaces[1].parent_id"),
        ({"doorways": [{"doorway_id": "Y", "side_a": "Z", "side_b": None}]}, "doorways[0].side_a"),
        ({"doorways": [{"doorway_id": "Y", "side_a": "A", "side_b": "Z"}]}, "doorways[0].side_b"),
        (
            {"dpus": [{"dpu_id": "1", "placements": [{"doorway_id": "Z", "facing": "a", "from": None}]}]},
            "dpus[0].placements[0].doorway_id",
        ),
    ],
)
def test_an_unknown_reference_is_named_by_its_path(wanted: dict[str, Any], field: str) -> None:
    with pytest.raises(UnknownReference) as refused:
        between({**usual(("A", None)), **DOORWAY}, wanted)
    assert (refused.value.field, refused.value.value) == (field, "Z")


def test_the_sides_of_a_doorway_are_compared() -> None:
    stored = {**usual(("A", None), ("B", None)), **DOORWAY}
    wanted = {"doorways": [{"doorway_id": "X", "side_a": None, "side_b": "B"}]}
    assert said(between(stored, wanted)) == ["update doorway X: side_a A -> null, side_b null -> B"]


def test_placements_become_exactly_those_listed() -> None:
    stored = {**usual(("A", None)), **DOORWAY, **dpu((None, JANUARY), (FEBRUARY, None))}
    assert between(stored, dpu((FEBRUARY, None), (None, JANUARY))) == []
    assert said(between(stored, dpu((None, JANUARY), (FEBRUARY, MARCH)))) == [
        "update placement 283: to null -> 2025-03-01T00:00:00Z"
    ]
    assert said(between(stored, dpu((FEBRUARY, None)))) == [
        "remove placement 283: doorway_id X, facing a, from null, to 2025-01-01T00:00:00Z"
    ]
    assert said(between(stored, dpu((None, JANUARY), (FEBRUARY, MARCH), (MARCH, None)))) == [
        "update placement 283: to null -> 2025-03-01T00:00:00Z",
        "create placement 283: doorway_id X, facing a, from 2025-03-01T00:00:00Z, to null",
    ]
    assert len(between(stored, dpu())) == 2


def test_turning_a_sensor_round_is_one_update() -> None:
    stored = {**usual(("A", None)), **DOORWAY, **dpu((None, JANUARY))}
    assert said(between(stored, dpu((None, JANUARY), facing="b"))) == ["update placement 283: facing a -> b"]
