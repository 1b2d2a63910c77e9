"""Layout documents in the database."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from occupancy.errors import InvalidInput, UnknownReference
from occupancy.layout import Layout, read_yaml, write_yaml
from occupancy.topology import SpaceBody, Topology

JANUARY, FEBRUARY, MARCH = (f"2025-0{month}-01T00:00:00Z" for month in (1, 2, 3))


@pytest.fixture
def layout(topology: Topology) -> Layout:
    return Layout(topology)


def document() -> dict[str, Any]:
    """The sample floor plan, children before parents, and a sensor that was moved."""
    return {
        "spaces": [
            {"space_id": "B", "parent_id": "floor", "capacity": 4},
            {"space_id": "A", "parent_id": "floor", "reset_at": "04:00:30"},
            {"space_id": "floor", "name": "First floor", "kind": "floor", "time_zone": "Europe/Berlin"},
        ],
        "doorways": [
            {"doorway_id": "X", "side_a": None, "side_b": "A"},
            {"doorway_id": "Z", "name": "Between", "side_a": "A", "side_b": "B"},
        ],
        "dpus": [
            {
                "dpu_id": "283",
                "placements": [
                    {"doorway_id": "X", "facing": "b", "from": None, "to": FEBRUARY},
                    {"doorway_id": "Z", "facing": "b", "from": FEBRUARY, "to": None},
                ],
            },
            {
                "dpu_id": "423",
                "placements": [{"doorway_id": "Z", "facing": "a", "from": JANUARY, "to": FEBRUARY}],
            },
            {"dpu_id": "999"},
        ],
    }


async def stale(connection: asyncpg.Connection) -> list[tuple[str, str, str]]:
    """The marks, which are then gone."""
    rows = await connection.fetch(
        "SELECT space_id, since AT TIME ZONE 'UTC' AS since, until AT TIME ZONE 'UTC' AS until "
        "FROM occupancy.stale JOIN occupancy.space ON space.id = stale.space"
    )
    await connection.execute("DELETE FROM occupancy.stale")
    return sorted((row["space_id"], _day(row["since"]), _day(row["until"])) for row in rows)


def _day(instant: Any) -> str:
    return str(instant.date())


EVER, NOW_ON = "0001-01-01", "9999-12-31"


async def effects(connection: asyncpg.Connection) -> set[tuple[Any, ...]]:
    rows = await connection.fetch(
        "SELECT dpu_id, space_id, sign, effect.valid_from::date::text, effect.valid_to::date::text "
        "FROM occupancy.effect JOIN occupancy.space ON space.id = effect.space "
        "JOIN occupancy.dpu ON dpu.id = effect.dpu"
    )
    return {tuple(row) for row in rows}


async def versions(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
    """Which transaction wrote each row: differs as soon as any is written again."""
    tables = ("space", "doorway", "dpu", "placement", "effect", "stale")
    query = " UNION ALL ".join(
        f"SELECT '{name}', ctid::text, xmin::text FROM occupancy.{name}" for name in tables
    )
    return sorted(tuple(row) for row in await connection.fetch(query))


async def test_a_document_is_put_in_force(layout: Layout, connection: asyncpg.Connection) -> None:
    planned = await layout.plan(document())
    assert await effects(connection) == set()
    assert await layout.apply(document()) == planned
    assert len(planned) == 3 + 2 + 3 + 3
    assert await effects(connection) == {
        ("283", "A", 1, "-infinity", "2025-02-01"),
        ("283", "floor", 1, "-infinity", "2025-02-01"),
        ("283", "B", 1, "2025-02-01", "infinity"),
        ("283", "A", -1, "2025-02-01", "infinity"),
        ("423", "A", 1, "2025-01-01", "2025-02-01"),
        ("423", "B", -1, "2025-01-01", "2025-02-01"),
    }
    zones = await connection.fetch("SELECT DISTINCT time_zone FROM occupancy.space")
    assert [row["time_zone"] for row in zones] == ["Europe/Berlin"]


async def test_the_second_time_nothing_is_written(layout: Layout, connection: asyncpg.Connection) -> None:
    await layout.apply(document())
    before = await versions(connection)
    assert await layout.plan(document()) == []
    assert await layout.apply(document()) == []
    assert await versions(connection) == before


async def test_what_is_exported_is_in_force(layout: Layout, connection: asyncpg.Connection) -> None:
    assert await layout.export() == {"spaces": [], "doorways": [], "dpus": []}
    await layout.apply(document())
    exported = await layout.export()
    assert [space["space_id"] for space in exported["spaces"]] == ["floor", "A", "B"]
    assert exported["spaces"][1]["reset_at"] == "04:00:30"
    assert exported["dpus"][0]["placements"] == document()["dpus"][0]["placements"]
    assert exported["dpus"][2] == {"dpu_id": "999", "name": "999", "placements": []}
    before = await versions(connection)
    assert await layout.apply(read_yaml(write_yaml(exported))) == []
    assert await layout.apply(exported) == []
    assert await versions(connection) == before


async def test_an_export_builds_the_same_layout_anew(layout: Layout, connection: asyncpg.Connection) -> None:
    await layout.apply(document())
    exported, had = await layout.export(), await effects(connection)
    await connection.execute(
        "TRUNCATE occupancy.space, occupancy.doorway, occupancy.dpu, occupancy.effect CASCADE"
    )
    await layout.apply(exported)
    assert await layout.export() == exported
    assert await effects(connection) == had


async def test_what_is_not_named_is_left_alone(layout: Layout, topology: Topology) -> None:
    await topology.spaces.put("elsewhere", SpaceBody(capacity=9))
    await layout.apply(document())
    exported = await layout.export()
    assert await layout.apply({"spaces": [{"space_id": "B"}], "dpus": [{"dpu_id": "423"}]}) == []
    assert await layout.export() == exported
    assert "elsewhere" in {space["space_id"] for space in exported["spaces"]}


async def test_only_the_changed_time_is_counted_anew(layout: Layout, connection: asyncpg.Connection) -> None:
    await layout.apply(document())
    await stale(connection)
    changed = document()
    changed["dpus"][0]["placements"][0]["to"] = MARCH
    changed["dpus"][0]["placements"][1]["from"] = MARCH
    ids = await connection.fetch("SELECT id FROM occupancy.placement ORDER BY id")
    assert [change.action for change in await layout.apply(changed)] == ["update", "update"]
    assert await connection.fetch("SELECT id FROM occupancy.placement ORDER BY id") == ids
    spans = set(await stale(connection))
    assert {span[1:] for span in spans} == {("2025-02-01", "2025-03-01")}
    assert {span[0] for span in spans} == {"A", "B", "floor"}


async def test_a_turned_sensor_is_counted_anew_in_its_time(
    layout: Layout, connection: asyncpg.Connection
) -> None:
    await layout.apply(document())
    await stale(connection)
    changed = document()
    changed["dpus"][1]["placements"][0]["facing"] = "b"
    await layout.apply(changed)
    assert await stale(connection) == [("A", "2025-01-01", "2025-02-01"), ("B", "2025-01-01", "2025-02-01")]


async def test_placements_that_are_not_listed_go(layout: Layout, connection: asyncpg.Connection) -> None:
    await layout.apply(document())
    await layout.apply({"dpus": [{"dpu_id": "283", "placements": []}]})
    assert {effect[0] for effect in await effects(connection)} == {"423"}


async def test_spaces_change_places_and_take_their_doorways_along(
    layout: Layout, connection: asyncpg.Connection
) -> None:
    await layout.apply(document())
    turned = {"spaces": [{"space_id": "floor", "parent_id": "A"}, {"space_id": "A", "parent_id": None}]}
    assert {change.action for change in await layout.apply(turned)} == {"move"}
    # B is in the floor, which is in A now: who walks from A to B stays in A and enters the floor
    assert await effects(connection) == {
        ("283", "A", 1, "-infinity", "2025-02-01"),
        ("283", "B", 1, "2025-02-01", "infinity"),
        ("283", "floor", 1, "2025-02-01", "infinity"),
        ("423", "B", -1, "2025-01-01", "2025-02-01"),
        ("423", "floor", -1, "2025-01-01", "2025-02-01"),
    }


@pytest.mark.parametrize(
    ("path", "value", "field", "kind"),
    [
        (("spaces", 1, "time_zone"), "Mars/Olympus", "spaces[1].time_zone", InvalidInput),
        (("spaces", 1, "parent_id"), "nobody", "spaces[1].parent_id", UnknownReference),
        (("spaces", 2, "parent_id"), "B", "spaces[0].parent_id", InvalidInput),
        (("doorways", 1, "side_b"), "nobody", "doorways[1].side_b", UnknownReference),
        (
            ("dpus", 1, "placements", 0, "doorway_id"),
            "Y",
            "dpus[1].placements[0].doorway_id",
            UnknownReference,
        ),
    ],
)
async def test_of_a_bad_document_nothing_is_stored(
    layout: Layout, path: tuple[str | int, ...], value: str, field: str, kind: type[Exception]
) -> None:
    bad: Any = document()
    part = bad
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    for attempt in (layout.plan, layout.apply):
        with pytest.raises(kind) as refused:
            await attempt(bad)
        assert getattr(refused.value, "field", None) == field
    assert await layout.export() == {"spaces": [], "doorways": [], "dpus": []}


async def test_a_failure_in_the_middle_leaves_nothing(
    layout: Layout, topology: Topology, connection: asyncpg.Connection
) -> None:
    await connection.execute(
        "ALTER TABLE occupancy.placement ADD CONSTRAINT never CHECK (facing <> 'b') NOT VALID"
    )
    try:
        with pytest.raises(Exception, match="never"):
            await layout.apply(document())
        assert await layout.export() == {"spaces": [], "doorways": [], "dpus": []}
    finally:
        await connection.execute("ALTER TABLE occupancy.placement DROP CONSTRAINT never")


async def test_a_deep_tree_listed_from_the_bottom(layout: Layout) -> None:
    depth = 60
    tree = [
        {"space_id": f"{n:03}", "parent_id": f"{n - 1:03}" if n else None} for n in reversed(range(depth))
    ]
    assert len(await layout.apply({"spaces": tree})) == depth
    assert [space["space_id"] for space in (await layout.export())["spaces"]] == [
        f"{n:03}" for n in range(depth)
    ]
