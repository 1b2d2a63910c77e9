"""The truth comes from the people's positions; the events, added up by the layout, must come to the same.

The sum here follows the definition of an effect and uses nothing of the simulation's code: the side walked
into and every space above it gain one, the side left and every space above it lose one.
"""

import copy
from bisect import bisect_right
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from occupancy.simulation import BuildingPlan, Defects, Event, Simulation, simulate

DAY = date(2026, 3, 17)
MILLISECOND = timedelta(milliseconds=1)
DEFECTS = {
    "none": Defects(),
    "late": Defects(late=0.3),
    "duplicates": Defects(duplicates=0.3),
    "shuffled": Defects(shuffled=True),
    "moved": Defects(moved_dpu=True),
    "reversed": Defects(reversed_dpu=True),
    "field": Defects.field(),
}


def corrected(simulation: Simulation) -> dict[str, Any]:
    layout = copy.deepcopy(simulation.layout)
    for correction in simulation.corrections:
        for dpu in layout["dpus"]:
            for placement in dpu["placements"]:
                if (dpu["dpu_id"], placement["doorway_id"]) == (correction.dpu_id, correction.doorway_id):
                    placement["facing"] = correction.facing
    return layout


def lineage(layout: dict[str, Any], space_id: str | None) -> Counter[str]:
    parents = {space["space_id"]: space["parent_id"] for space in layout["spaces"]}
    above: Counter[str] = Counter()
    while space_id is not None:
        above[space_id] += 1
        space_id = parents[space_id]
    return above


def parsed(text: str | None, unbounded: datetime) -> datetime:
    return unbounded if text is None else datetime.fromisoformat(text)


def gains(layout: dict[str, Any], event: Event) -> Counter[str]:
    """Return what the event adds to each space."""
    doorways = {doorway["doorway_id"]: doorway for doorway in layout["doorways"]}
    (dpu,) = [dpu for dpu in layout["dpus"] if dpu["dpu_id"] == event.dpu_id]
    (placement,) = [
        placement
        for placement in dpu["placements"]
        if parsed(placement["from"], datetime.min.replace(tzinfo=UTC)) <= event.timestamp
        and event.timestamp < parsed(placement["to"], datetime.max.replace(tzinfo=UTC))
    ]
    doorway = doorways[placement["doorway_id"]]
    faced, other = doorway["side_a"], doorway["side_b"]
    if placement["facing"] == "b":
        faced, other = other, faced
    effect = lineage(layout, faced)
    effect.subtract(lineage(layout, other))
    return Counter({space_id: sign * event.direction for space_id, sign in effect.items() if sign})


class PlainSum:
    def __init__(self, layout: dict[str, Any], events: list[Event]) -> None:
        cached: dict[tuple[str, int, bool], Counter[str]] = {}
        moved_at = [
            datetime.fromisoformat(placement["to"])
            for dpu in layout["dpus"]
            for placement in dpu["placements"]
            if placement["to"]
        ]
        self._sums: dict[str, tuple[list[datetime], list[int]]] = {
            space["space_id"]: ([], [0]) for space in layout["spaces"]
        }
        for event in events:
            key = (event.dpu_id, event.direction, any(at <= event.timestamp for at in moved_at))
            if key not in cached:
                cached[key] = gains(layout, event)
            for space_id, gain in cached[key].items():
                times, sums = self._sums[space_id]
                times.append(event.timestamp)
                sums.append(sums[-1] + gain)

    def net(self, space_id: str, at: datetime) -> int:
        times, sums = self._sums[space_id]
        return sums[bisect_right(times, at)]


def differences(simulation: Simulation, layout: dict[str, Any], events: list[Event]) -> list[str]:
    plain = PlainSum(layout, events)
    return [
        f"{space_id} at {at.isoformat()}: {plain.net(space_id, at)} is not {simulation.net(space_id, at)}"
        for space_id in simulation.spaces()
        for at in simulation.instants(300)
        if plain.net(space_id, at) != simulation.net(space_id, at)
    ]


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("name", DEFECTS)
def test_the_events_add_up_to_the_truth(name: str, seed: int) -> None:
    simulation = simulate(BuildingPlan(), DAY, people=80, seed=seed, defects=DEFECTS[name])
    assert differences(simulation, corrected(simulation), simulation.events) == []


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_wrong_facing_makes_the_sum_wrong(seed: int) -> None:
    simulation = simulate(BuildingPlan(), DAY, people=80, seed=seed, defects=Defects(reversed_dpu=True))
    assert differences(simulation, simulation.layout, simulation.events) != []


@pytest.mark.parametrize("kept", [0, 1])
def test_a_move_that_was_not_declared_makes_the_sum_wrong(kept: int) -> None:
    simulation = simulate(BuildingPlan(), DAY, people=80, seed=1, defects=Defects(moved_dpu=True))
    layout = copy.deepcopy(simulation.layout)
    (moved,) = [dpu for dpu in layout["dpus"] if len(dpu["placements"]) == 2]
    moved["placements"] = [{**moved["placements"][kept], "from": None, "to": None}]
    assert differences(simulation, layout, simulation.events) != []


@pytest.mark.parametrize("milliseconds", [-1, 1])
def test_a_move_declared_a_millisecond_off_makes_the_sum_wrong(milliseconds: int) -> None:
    simulation = simulate(BuildingPlan(), DAY, people=80, seed=1, defects=Defects(moved_dpu=True))
    layout = copy.deepcopy(simulation.layout)
    (moved,) = [dpu for dpu in layout["dpus"] if len(dpu["placements"]) == 2]
    first, second = moved["placements"]
    off = datetime.fromisoformat(first["to"]) + milliseconds * MILLISECOND
    first["to"] = second["from"] = off.isoformat()
    assert differences(simulation, layout, simulation.events) != []


@pytest.mark.parametrize("name", DEFECTS)
def test_what_was_delivered_adds_up_to_the_truth_once_repetitions_are_dropped(name: str) -> None:
    simulation = simulate(BuildingPlan(), DAY, people=80, seed=5, defects=DEFECTS[name])
    delivered = {event for batch in simulation.deliveries(100) for event in batch}
    in_order = sorted(delivered, key=lambda event: event.timestamp)
    assert differences(simulation, corrected(simulation), in_order) == []


@pytest.mark.parametrize("day", [date(2026, 3, 28), date(2026, 3, 29), date(2026, 10, 25)])
def test_the_events_add_up_when_the_clock_changes(day: date) -> None:
    simulation = simulate(BuildingPlan(), day, people=80, seed=6, defects=Defects.field())
    assert differences(simulation, corrected(simulation), simulation.events) == []


def test_every_event_moves_the_truth_at_its_very_millisecond() -> None:
    simulation = simulate(BuildingPlan(), DAY, people=30, seed=7)
    at_once = Counter(event.timestamp for event in simulation.events)
    alone = [event for event in simulation.events if at_once[event.timestamp] == 1]
    assert len(alone) > 500
    for event in alone:
        moved = {
            space_id: after - before
            for space_id in simulation.spaces()
            if (after := simulation.net(space_id, event.timestamp))
            != (before := simulation.net(space_id, event.timestamp - MILLISECOND))
        }
        assert moved == gains(simulation.layout, event)


def test_a_space_holds_what_its_children_hold_and_those_in_between() -> None:
    simulation = simulate(BuildingPlan(), DAY, people=80, seed=8)
    children: dict[str, list[str]] = {space_id: [] for space_id in simulation.spaces()}
    for space in simulation.layout["spaces"]:
        if space["parent_id"] is not None:
            children[space["parent_id"]].append(space["space_id"])
    for at in simulation.instants(300):
        for space_id, below in children.items():
            held = sum(simulation.net(child, at) for child in below)
            # On a floor everybody is in some room or corridor; in a room some are in a booth, not all.
            if below and "room" not in space_id:
                assert simulation.net(space_id, at) == held
            else:
                assert simulation.net(space_id, at) >= held


def test_a_fraction_of_a_millisecond_does_not_count() -> None:
    simulation = simulate(BuildingPlan(), DAY, people=1, seed=9)
    first = simulation.events[0].timestamp
    microsecond = timedelta(microseconds=1)
    assert simulation.net("building", first - microsecond) == 0
    assert simulation.net("building", first) == 1
    assert simulation.net("building", first + microsecond) == 1
