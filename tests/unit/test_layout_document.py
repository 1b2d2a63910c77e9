"""Reading layout documents."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

import pytest

from occupancy.errors import InvalidInput
from occupancy.layout import parse, read_yaml, write_yaml

JANUARY = datetime(2025, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2025, 2, 1, tzinfo=UTC)


def placed(*placements: dict[str, Any]) -> dict[str, Any]:
    return {"dpus": [{"dpu_id": "283", "placements": list(placements)}]}


def hung(start: object, end: object, **more: object) -> dict[str, Any]:
    return {"doorway_id": "X", "facing": "a", "from": start, "to": end, **more}


def test_a_whole_document_is_read_from_yaml() -> None:
    layout = parse(
        read_yaml("""
        spaces:
          - {space_id: 0017, name: on, capacity: 12, reset_at: 12:30, time_zone: Europe/Berlin, parent_id: ~}
        doorways:
          - {doorway_id: X, side_a: null, side_b: 0017}
        dpus:
          - dpu_id: 283
            placements:
              - {doorway_id: X, facing: b, from: null, to: 2025-01-01T01:00:00+01:00}
              - {doorway_id: X, facing: a, from: 2025-02-01T00:00:00Z}
          - dpu_id: 423
        """)
    )
    (space,), (doorway,), (moved, idle) = layout.spaces, layout.doorways, layout.dpus
    assert (space.space_id, space.name, space.capacity, space.reset_at) == ("0017", "on", 12, time(12, 30))
    assert (doorway.side_a, doorway.side_b) == (None, "0017")
    assert moved.dpu_id == "283"
    assert [(p.valid_from, p.valid_to) for p in moved.placements] == [(None, JANUARY), (FEBRUARY, None)]
    assert "placements" not in idle.model_fields_set


def test_a_document_read_by_another_yaml_reader_may_hold_datetimes_and_numbers() -> None:
    document = {"spaces": [{"space_id": "A", "capacity": 3}], **placed(hung(JANUARY, None))}
    assert parse(document).dpus[0].placements[0].valid_from == JANUARY


@pytest.mark.parametrize("document", [None, {}, {"spaces": None, "dpus": []}])
def test_a_document_may_be_empty(document: object) -> None:
    layout = parse(document)
    assert (layout.spaces, layout.doorways, layout.dpus) == ([], [], [])


def test_what_is_written_is_read_again() -> None:
    document = {"spaces": [{"space_id": "283", "name": "null", "parent_id": None}]}
    assert read_yaml(write_yaml(document)) == document


@pytest.mark.parametrize(
    "text", ["spaces: [", "a: 1\na: 2", "spaces: [{space_id: A, space_id: B}]", "\0", "[" * 5000]
)
def test_what_is_no_yaml_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_yaml(text)


@pytest.mark.parametrize(
    ("document", "field", "value"),
    [
        ([], "layout", []),
        ({"rooms": []}, "rooms", []),
        ({"spaces": [{"space_id": "A"}, {"space_id": "a/b"}]}, "spaces[1].space_id", "a/b"),
        ({"spaces": [{"space_id": 283}]}, "spaces[0].space_id", 283),
        ({"spaces": [{"name": "A"}]}, "spaces[0].space_id", None),
        ({"spaces": [{"space_id": "A", "capacity": -1}]}, "spaces[0].capacity", -1),
        ({"spaces": [{"space_id": "A", "capacity": "some"}]}, "spaces[0].capacity", "some"),
        ({"spaces": [{"space_id": "A", "reset_at": 750}]}, "spaces[0].reset_at", 750),
        ({"spaces": [{"space_id": "A"}, {"space_id": "B"}, {"space_id": "A"}]}, "spaces[2].space_id", "A"),
        ({"doorways": [{"doorway_id": "X", "side_a": "A"}]}, "doorways[0].side_b", None),
        ({"doorways": [{"doorway_id": "X", "side_a": 5, "side_b": None}]}, "doorways[0].side_a", 5),
        ({"doorways": [{"doorway_id": "X", "side_a": "A", "side_b": "A"}]}, "doorways[0].side_b", "A"),
        ({"doorways": [{"doorway_id": "X", "side_a": None, "side_b": None}]}, "doorways[0].side_b", None),
        (
            {"doorways": [{"doorway_id": "X", "side_a": "A", "side_b": None}] * 2},
            "doorways[1].doorway_id",
            "X",
        ),
        ({"dpus": [{"dpu_id": "283"}] * 2}, "dpus[1].dpu_id", "283"),
        (placed(hung(None, None, facing="c")), "dpus[0].placements[0].facing", "c"),
        (placed({"doorway_id": "X", "facing": "a", "to": None}), "dpus[0].placements[0].from", None),
        (placed(hung("2025-01-01T00:00:00", None)), "dpus[0].placements[0].from", "2025-01-01T00:00:00"),
        (placed(hung(JANUARY, JANUARY)), "dpus[0].placements[0].to", "2025-01-01T00:00:00Z"),
        (
            placed(hung(FEBRUARY, None), hung(None, JANUARY), hung(JANUARY, None)),
            "dpus[0].placements[0].from",
            "2025-02-01T00:00:00Z",
        ),
        (placed(hung(JANUARY, None), hung(None, None)), "dpus[0].placements[0].from", "2025-01-01T00:00:00Z"),
        (placed(hung(None, None), hung(None, None)), "dpus[0].placements[1].from", None),
    ],
)
def test_an_error_names_the_path_and_the_value(document: object, field: str, value: object) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse(document)
    assert (refused.value.field, refused.value.value) == (field, value)
    assert field in refused.value.detail


def test_an_id_that_is_a_number_should_be_in_quotes() -> None:
    with pytest.raises(InvalidInput, match="quotes"):
        parse({"dpus": [{"dpu_id": 283}]})
