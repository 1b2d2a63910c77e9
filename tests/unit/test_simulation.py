"""The simulated day: believable, repeatable, measurable."""

import json
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
import yaml

from occupancy.simulation import BuildingPlan, Defects, Simulation, simulate

DAY = date(2026, 3, 17)
BERLIN = ZoneInfo("Europe/Berlin")
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module", params=SEEDS)
def simulation(request: pytest.FixtureRequest) -> Simulation:
    seed: int = request.param
    return simulate(BuildingPlan(), DAY, people=120, seed=seed)


def local(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=BERLIN)


def test_the_default_plan_has_the_size_that_is_documented(simulation: Simulation) -> None:
    kinds = Counter(space["kind"] for space in simulation.layout["spaces"])
    assert kinds == {"building": 1, "floor": 3, "corridor": 3, "room": 18, "booth": 3}
    # 2 entrances, stairs and lift twice, 18 room doors, 3 booth doors
    assert len(simulation.layout["doorways"]) == 27
    assert len(simulation.layout["dpus"]) == 27


def test_parents_come_before_their_children(simulation: Simulation) -> None:
    seen: set[str | None] = {None}
    for space in simulation.layout["spaces"]:
        assert space["parent_id"] in seen
        seen.add(space["space_id"])
    assert simulation.spaces() == [space["space_id"] for space in simulation.layout["spaces"]]


def test_ids_can_stand_in_a_url(simulation: Simulation) -> None:
    layout = simulation.layout
    ids = [
        item[key]
        for kind, key in (("spaces", "space_id"), ("doorways", "doorway_id"), ("dpus", "dpu_id"))
        for item in layout[kind]
    ]
    assert len(set(ids)) == len(ids)
    assert all(word.isalnum() for name in ids for word in name.split("-"))


def test_the_layout_survives_being_written_down() -> None:
    layout = simulate(BuildingPlan(), DAY, people=9, seed=1, defects=Defects.field()).layout
    assert json.loads(json.dumps(layout)) == layout
    assert yaml.safe_load(yaml.safe_dump(layout)) == layout


def test_sensors_hang_on_either_side_and_outside_is_either_side(simulation: Simulation) -> None:
    facings = Counter(dpu["placements"][0]["facing"] for dpu in simulation.layout["dpus"])
    assert min(facings["a"], facings["b"]) > 5
    entrances = [door for door in simulation.layout["doorways"] if None in (door["side_a"], door["side_b"])]
    assert {door["side_a"] is None for door in entrances} == {True, False}


def test_the_entrances_do_not_share_one_sign(simulation: Simulation) -> None:
    doorways = {door["doorway_id"]: door for door in simulation.layout["doorways"]}
    hung = [dpu["placements"][0] for dpu in simulation.layout["dpus"]]
    faced = {
        place["doorway_id"]: doorways[place["doorway_id"]][f"side_{place['facing']}"]
        for place in hung
        if place["doorway_id"].startswith("entrance-")
    }
    assert None in faced.values()
    assert "floor-0-lobby" in faced.values()


def test_the_building_is_fullest_in_office_hours(simulation: Simulation) -> None:
    minutes = [local(DAY, 0) + timedelta(minutes=minute) for minute in range(0, 24 * 60, 5)]
    peak = max(minutes, key=lambda at: simulation.net("building", at))
    assert local(DAY, 9) <= peak <= local(DAY, 17)
    assert simulation.net("building", peak) > 100


def test_people_go_out_for_lunch(simulation: Simulation) -> None:
    at_lunch = simulation.net("building", local(DAY, 12, 30))
    assert at_lunch < simulation.net("building", local(DAY, 10, 30)) - 20
    assert at_lunch < simulation.net("building", local(DAY, 14, 30)) - 20


def test_kitchens_meeting_rooms_and_booths_are_used(simulation: Simulation) -> None:
    every_minute = [local(DAY, 8) + timedelta(minutes=minute) for minute in range(12 * 60)]
    for space_id in ("floor-1-room-5", "floor-1-room-6", "floor-1-room-1-booth-1", "floor-1-corridor"):
        assert any(simulation.net(space_id, at) > 0 for at in every_minute), space_id


def test_a_few_stay_past_midnight_and_everybody_goes_home(simulation: Simulation) -> None:
    midnight = local(DAY + timedelta(days=1), 0)
    assert 1 <= simulation.net("building", midnight) <= 5
    assert simulation.events[-1].timestamp < local(DAY + timedelta(days=1), 3)
    for space_id in simulation.spaces():
        assert simulation.net(space_id, local(DAY, 0)) == 0
        assert simulation.net(space_id, simulation.events[-1].timestamp) == 0


def test_events_are_in_order_utc_and_in_whole_milliseconds(simulation: Simulation) -> None:
    timestamps = [event.timestamp for event in simulation.events]
    assert timestamps == sorted(timestamps)
    assert all(at.tzinfo is UTC and at.microsecond % 1000 == 0 for at in timestamps)
    assert {event.direction for event in simulation.events} == {1, -1}


def test_a_sensor_counts_its_events_and_never_sees_two_at_once(simulation: Simulation) -> None:
    by_dpu = defaultdict(list)
    for event in simulation.events:
        by_dpu[event.dpu_id].append(event)
    assert by_dpu.keys() == {dpu["dpu_id"] for dpu in simulation.layout["dpus"]}
    for events in by_dpu.values():
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert all(one.timestamp < next_one.timestamp for one, next_one in pairwise(events))


def test_a_crowd_in_one_doorway_is_told_apart() -> None:
    plan = BuildingPlan(floors=1, rooms_per_floor=1, entrances=1, booths_per_floor=0)
    crowd = simulate(plan, DAY, people=3000, seed=1)
    seen = Counter((event.dpu_id, event.timestamp) for event in crowd.events)
    assert max(seen.values()) == 1


def test_the_same_seed_gives_the_same_day() -> None:
    defects = Defects.field()
    one, same = (simulate(BuildingPlan(), DAY, people=60, seed=7, defects=defects) for _ in range(2))
    assert one == same
    assert list(one.deliveries(50)) == list(same.deliveries(50))
    assert list(one.deliveries(50)) == list(one.deliveries(50))
    assert one.instants(50, seed=2) == same.instants(50, seed=2)
    assert one.instants(50, seed=2) != one.instants(50, seed=3)


def test_another_seed_gives_another_day_in_the_same_building() -> None:
    one, other = (simulate(BuildingPlan(), DAY, people=60, seed=seed) for seed in (7, 8))
    assert one.events != other.events
    assert one.layout == other.layout


@pytest.mark.parametrize(
    ("day", "hours"),
    [(date(2026, 3, 28), 24), (date(2026, 3, 29), 23), (date(2026, 10, 24), 24), (date(2026, 10, 25), 25)],
)
def test_a_day_on_which_the_clock_changes(day: date, hours: int) -> None:
    simulation = simulate(BuildingPlan(), day, people=200, seed=4)
    start = local(day, 0).astimezone(UTC)
    end = local(day + timedelta(days=1), 0).astimezone(UTC)
    assert end - start == timedelta(hours=hours)
    assert {start, end} <= set(simulation.instants(10))
    # Nobody is early or late by the hour that the clock jumps.
    assert simulation.events[0].timestamp >= local(day, 6)
    assert simulation.net("building", local(day, 10, 45)) > 180
    assert simulation.net("building", end) > 0
    assert simulation.net("building", local(day + timedelta(days=1), 4)) == 0


def test_instants_are_worth_asking() -> None:
    simulation = simulate(BuildingPlan(), DAY, people=30, seed=5)
    noon, millisecond = local(DAY, 12), timedelta(milliseconds=1)
    instants = simulation.instants(400)
    assert len(instants) == 400
    assert instants == sorted(instants)
    fixed = {noon - millisecond, noon, noon + millisecond, local(DAY, 0), local(DAY + timedelta(days=1), 0)}
    assert fixed <= set(instants)
    happened = {event.timestamp for event in simulation.events}
    for away in (-millisecond, timedelta(0), millisecond):
        assert any(at + away in happened for at in instants)
    assert all(
        any(at + away * millisecond in happened for away in (-1, 0, 1)) for at in set(instants) - fixed
    )


@pytest.mark.parametrize("count", [0, 1, 3])
def test_few_instants_are_noon_first(count: int) -> None:
    simulation = simulate(BuildingPlan(), DAY, people=3, seed=5)
    instants = simulation.instants(count)
    assert len(instants) == count
    assert not count or local(DAY, 12) in instants


@pytest.mark.parametrize("defects", [Defects(), Defects.field()])
def test_a_day_on_which_nobody_comes(defects: Defects) -> None:
    simulation = simulate(BuildingPlan(), DAY, people=0, seed=1, defects=defects)
    assert simulation.events == []
    assert list(simulation.deliveries()) == []
    assert len(simulation.instants(20)) == 20
    assert simulation.net("building", local(DAY, 12)) == 0


@pytest.mark.parametrize("rooms", [1, 2, 3])
def test_the_smallest_buildings_work(rooms: int) -> None:
    plan = BuildingPlan(floors=1, rooms_per_floor=rooms, entrances=1, booths_per_floor=0)
    simulation = simulate(plan, DAY, people=5, seed=1)
    assert simulation.net("building", local(DAY, 11)) > 0


def test_the_plan_is_written_to_every_space() -> None:
    plan = BuildingPlan(time_zone="America/New_York", reset_at="04:00")
    simulation = simulate(plan, DAY, people=1, seed=1)
    assert {space["time_zone"] for space in simulation.layout["spaces"]} == {"America/New_York"}
    assert {space["reset_at"] for space in simulation.layout["spaces"]} == {"04:00"}
    assert simulation.events[0].timestamp.astimezone(ZoneInfo("America/New_York")).date() == DAY


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"floors": 0}, "floors must be at least 1, not 0"),
        ({"rooms_per_floor": 0}, "rooms_per_floor"),
        ({"entrances": 0}, "entrances"),
        ({"booths_per_floor": -1}, "booths_per_floor must be at least 0, not -1"),
        ({"reset_at": "24:00"}, "reset_at must be HH:MM"),
        ({"reset_at": "4:00"}, "'4:00'"),
        ({"time_zone": "Europe/Atlantis"}, "IANA name, not 'Europe/Atlantis'"),
        ({"time_zone": ""}, "IANA name, not ''"),
    ],
)
def test_an_impossible_plan_is_refused(wrong: dict[str, int | str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BuildingPlan(**wrong)  # type: ignore[arg-type]


def test_impossible_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="people must be at least 0, not -1"):
        simulate(BuildingPlan(), DAY, people=-1, seed=1)
    simulation = simulate(BuildingPlan(), DAY, people=1, seed=1)
    with pytest.raises(LookupError, match="no space 'attic'"):
        simulation.net("attic", local(DAY, 12))
    with pytest.raises(ValueError, match="time zone is needed"):
        simulation.net("building", datetime(2026, 3, 17, 12))  # noqa: DTZ001
    with pytest.raises(ValueError, match="count must be at least 0, not -1"):
        simulation.instants(-1)
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        list(simulation.deliveries(0))
