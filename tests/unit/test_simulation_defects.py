"""The defects of the field: each one is really there, and takes nothing away."""

from collections import Counter
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from occupancy.simulation import BuildingPlan, Defects, Event, Simulation, simulate
from occupancy.simulation.building import Doorway
from occupancy.simulation.chance import seeded
from occupancy.simulation.clock import Clock
from occupancy.simulation.people import Goal, walk
from occupancy.simulation.routes import Routes

DAY = date(2026, 3, 17)
NOON = datetime(2026, 3, 17, 12, tzinfo=ZoneInfo("Europe/Berlin"))
MILLISECOND = timedelta(milliseconds=1)


def simulated(defects: Defects, seed: int = 1, people: int = 120) -> Simulation:
    return simulate(BuildingPlan(), DAY, people=people, seed=seed, defects=defects)


def delivered(simulation: Simulation, batch_size: int = 100) -> list[Event]:
    return [event for batch in simulation.deliveries(batch_size) for event in batch]


def moved_dpu(simulation: Simulation) -> dict[str, Any]:
    (moved,) = [dpu for dpu in simulation.layout["dpus"] if len(dpu["placements"]) > 1]
    found: dict[str, Any] = moved
    return found


def test_without_defects_events_arrive_once_and_in_order() -> None:
    simulation = simulated(Defects())
    assert delivered(simulation) == simulation.events
    assert simulation.corrections == []


@pytest.mark.parametrize("batch_size", [1, 7, 500, 100_000])
def test_batches_have_the_size_that_was_asked_for(batch_size: int) -> None:
    sizes = [len(batch) for batch in simulated(Defects.field(), people=20).deliveries(batch_size)]
    assert set(sizes[:-1]) <= {batch_size}
    assert 1 <= sizes[-1] <= batch_size


@pytest.mark.parametrize(
    "defects",
    [
        Defects(late=1.0, duplicates=1.0, shuffled=True),
        Defects(late=0.5, max_delay=timedelta(days=9)),
        Defects(late=0.5, max_delay=timedelta(seconds=1)),
        Defects(duplicates=0.5),
        Defects.field(),
    ],
)
def test_every_event_arrives(defects: Defects) -> None:
    simulation = simulated(defects)
    assert set(delivered(simulation)) == set(simulation.events)


def test_duplicates_are_equal_in_every_field_and_as_many_as_asked() -> None:
    simulation = simulated(Defects(duplicates=0.1))
    copies = Counter(delivered(simulation))
    assert set(copies) == set(simulation.events)
    assert set(copies.values()) == {1, 2}
    repeated = sum(1 for times in copies.values() if times == 2)
    assert 0.07 < repeated / len(simulation.events) < 0.13
    # Equal keys with another direction or count would be two events, not one delivered twice.
    assert len({(event.dpu_id, event.timestamp) for event in copies}) == len(copies)


def test_some_duplicates_come_in_a_later_batch_and_some_in_the_same() -> None:
    simulation = simulated(Defects(duplicates=0.3))
    batches = list(simulation.deliveries(100))
    within = sum(len(batch) - len(set(batch)) for batch in batches)
    in_all = len(delivered(simulation)) - len(simulation.events)
    assert 0.2 < within / in_all < 0.8


def test_late_events_come_in_later_batches() -> None:
    simulation = simulated(Defects(late=0.1, max_delay=timedelta(hours=4)))
    arrived = delivered(simulation)
    latest, overtaken = arrived[0].timestamp, []
    for event in arrived:
        latest = max(latest, event.timestamp)
        if event.timestamp < latest:
            overtaken.append(latest - event.timestamp)
    # A delay that nobody overtakes is not seen here, so a little less than the share is.
    assert 0.06 < len(overtaken) / len(arrived) < 0.13
    assert max(overtaken) <= timedelta(hours=4)
    assert max(overtaken) > timedelta(hours=2)
    batches = list(simulation.deliveries(100))
    ends = [max(event.timestamp for event in batch) for batch in batches]
    behind = [
        event
        for end, batch in zip(ends, batches[1:], strict=False)
        for event in batch
        if event.timestamp < end
    ]
    assert len(behind) > 100


def test_a_short_delay_is_kept() -> None:
    simulation = simulated(Defects(late=1.0, max_delay=timedelta(seconds=1)))
    latest = simulation.events[0].timestamp
    for event in delivered(simulation):
        latest = max(latest, event.timestamp)
        assert latest - event.timestamp <= timedelta(seconds=1)


def test_shuffling_stays_inside_the_batch() -> None:
    straight, shuffled = (list(simulated(Defects(shuffled=on)).deliveries(100)) for on in (False, True))
    assert straight != shuffled
    assert [set(batch) for batch in straight] == [set(batch) for batch in shuffled]
    assert all(one != other for one, other in zip(straight, shuffled, strict=True))


def test_defects_of_the_delivery_leave_the_day_as_it_was() -> None:
    clean = simulated(Defects())
    faulty = simulated(Defects(late=0.2, duplicates=0.2, shuffled=True, reversed_dpu=True))
    assert faulty.events == clean.events


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_the_moved_dpu_has_two_placements_that_meet_at_noon(seed: int) -> None:
    simulation = simulated(Defects(moved_dpu=True), seed)
    first, second = moved_dpu(simulation)["placements"]
    assert first["from"] is None
    assert second["to"] is None
    assert first["to"] == second["from"] == "2026-03-17T11:00:00.000Z"
    assert first["doorway_id"] != second["doorway_id"]
    hung = Counter(
        placement["doorway_id"] for dpu in simulation.layout["dpus"] for placement in dpu["placements"]
    )
    assert set(hung.values()) == {1}
    assert set(hung) == {doorway["doorway_id"] for doorway in simulation.layout["doorways"]}


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_the_moved_dpu_sees_people_up_to_the_move_and_from_it_on(seed: int) -> None:
    simulation = simulated(Defects(moved_dpu=True), seed)
    dpu_id = moved_dpu(simulation)["dpu_id"]
    seen = [event.timestamp for event in simulation.events if event.dpu_id == dpu_id]
    assert NOON - MILLISECOND in seen
    assert NOON in seen
    assert sum(1 for at in seen if at < NOON) > 10
    assert sum(1 for at in seen if at >= NOON) > 10
    assert len(set(seen)) == len(seen)


def test_nobody_walks_where_no_sensor_hangs() -> None:
    plan = BuildingPlan(floors=1, rooms_per_floor=3, booths_per_floor=0)
    # Measuring refuses a step without a sensor; in this crowd somebody is always at either doorway.
    simulation = simulate(plan, DAY, people=3000, seed=1, defects=Defects(moved_dpu=True))
    dpu_id = moved_dpu(simulation)["dpu_id"]
    gaps = [abs(event.timestamp - NOON) for event in simulation.events if event.dpu_id == dpu_id]
    assert sum(1 for gap in gaps if gap < timedelta(seconds=30)) > 10


def test_a_queue_at_a_closing_doorway_goes_another_way() -> None:
    closing = Doorway("closing", "Closing", None, "lobby", closes_at=1_000)
    always = Doorway("always", "Always", None, "lobby")
    clock = Clock(date(1970, 1, 1), ZoneInfo("UTC"))
    queue = [[Goal(999 / 60_000, "lobby")]] * 20
    steps = [step for day in walk(queue, [closing, always], clock, seeded(1, "queue")) for step in day]
    assert [step.instant for step in steps if step.doorway_id == "closing"] == [999]
    assert sorted(step.instant for step in steps if step.doorway_id == "always") == list(range(999, 1018))


def test_a_closed_doorway_is_no_way() -> None:
    shortcut = Doorway("shortcut", "Shortcut", None, "room", opens_at=1_000, closes_at=2_000)
    detour = [Doorway("front", "Front", None, "lobby"), Doorway("inner", "Inner", "lobby", "room")]
    routes = Routes([shortcut, *detour])
    for instant, way in ((999, "front"), (1_000, "shortcut"), (1_999, "shortcut"), (2_000, "front")):
        assert [doorway.doorway_id for doorway in routes.next_doors(None, "room", instant)] == [way]
    beside = Doorway("beside", "Beside the shortcut", "room", None)
    for instant, ways in ((999, ["beside"]), (1_000, ["shortcut", "beside"]), (2_000, ["beside"])):
        open_ways = Routes([shortcut, beside]).next_doors("room", None, instant)
        assert [doorway.doorway_id for doorway in open_ways] == ways
    with pytest.raises(ValueError, match="no open way from outside to room"):
        Routes([shortcut]).next_doors(None, "room", 2_000)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_one_dpu_is_declared_the_wrong_way_round_and_corrected(seed: int) -> None:
    right, wrong = (simulated(Defects(moved_dpu=True, reversed_dpu=on), seed) for on in (False, True))
    (correction,) = wrong.corrections
    truly = {dpu["dpu_id"]: dpu["placements"] for dpu in right.layout["dpus"]}
    declared = {dpu["dpu_id"]: dpu["placements"] for dpu in wrong.layout["dpus"]}
    assert [dpu_id for dpu_id in truly if truly[dpu_id] != declared[dpu_id]] == [correction.dpu_id]
    assert correction.dpu_id != moved_dpu(wrong)["dpu_id"]
    assert truly[correction.dpu_id] == [
        {"doorway_id": correction.doorway_id, "facing": correction.facing, "from": None, "to": None}
    ]
    assert (correction.start, correction.end) == (None, None)
    assert correction.reason
    assert any(event.dpu_id == correction.dpu_id for event in wrong.events)


def test_the_field_has_every_defect() -> None:
    field = Defects.field()
    assert 0 < field.late < 0.5
    assert 0 < field.duplicates < 0.5
    assert field.shuffled
    assert field.moved_dpu
    assert field.reversed_dpu


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"late": -0.1}, "late must be between 0 and 1, not -0.1"),
        ({"duplicates": 1.1}, "duplicates must be between 0 and 1, not 1.1"),
        ({"max_delay": timedelta(0)}, "max_delay must be positive, not 0:00:00"),
    ],
)
def test_impossible_defects_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Defects(**wrong)
