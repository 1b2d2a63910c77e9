"""People: what they plan to do in a day, and the steps through doorways that follow from it.

Plans are in minutes of the wall clock since 00:00 of the local day (1440 and more is the next day); steps are
instants, in milliseconds since 1970.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import NamedTuple

from occupancy.simulation.building import Building, Doorway, Move, corridor_id, entrance_id, room_id
from occupancy.simulation.clock import Clock
from occupancy.simulation.routes import Place, Routes

HOUR = 60.0
MEETINGS_AT = (9.5 * HOUR, 11 * HOUR, 14 * HOUR, 15.5 * HOUR)
WALK_MILLISECONDS = (3_000, 20_000)
ONE_STAYS_LATE_OF = 40


class Visit(NamedTuple):
    """A plan to leave the desk for another place for a while."""

    start: float
    minutes: float
    place: Place


class Goal(NamedTuple):
    """A plan to go to a place and stay there until the next goal."""

    start: float
    place: Place


class Step(NamedTuple):
    """A person walked through a doorway and is in `entered` from that instant on."""

    instant: int
    doorway_id: str
    entered: Place


def plan_days(building: Building, people: int, rng: Random) -> list[list[Goal]]:
    """Return each person's goals: from outside to a desk, around the building, and outside again."""
    offices = building.places("desk")
    desks = [offices[person % len(offices)] for person in range(people)]
    meetings = _meetings(building, desks, rng)
    return [_plan_day(building, person, desk, meetings[person], rng) for person, desk in enumerate(desks)]


def couriers(move: Move) -> list[list[Step]]:
    """Return the steps of two more people, who come when a sensor is moved.

    One walks in through the closing doorway in its last millisecond, the other through the opening one in its
    first: there, an error of one instant in the bounds of a placement shows.
    """
    lobby, room, entrance = corridor_id(0), room_id(0, 1), entrance_id(1)
    last = [Step(move.instant - 1, move.closing, lobby), Step(move.instant + 25_000, entrance, None)]
    first = [
        Step(move.instant - 15_000, entrance, lobby),
        Step(move.instant, move.opening, room),
        Step(move.instant + 40_000, move.opening, lobby),
        Step(move.instant + 60_000, entrance, None),
    ]
    return [last, first]


def walk(
    days: Iterable[Sequence[Goal]],
    doorways: Iterable[Doorway],
    clock: Clock,
    rng: Random,
    others: Sequence[Sequence[Step]] = (),
) -> list[list[Step]]:
    """Return each person's steps, in order.

    No two people, `others` included, walk through one doorway in the same millisecond: a sensor tells them
    apart.
    """
    taken = {(step.doorway_id, step.instant) for day in others for step in day}
    walker = _Walker(Routes(doorways), clock, taken, rng)
    return [walker.walk(goals) for goals in days]


def _meetings(building: Building, desks: Sequence[str], rng: Random) -> dict[int, list[Visit]]:
    """Give each meeting room to a team (the people of one office) now and then."""
    teams: dict[str, list[int]] = defaultdict(list)
    for person, desk in enumerate(desks):
        teams[desk].append(person)
    seats = {space.space_id: space.capacity for space in building.spaces}
    meetings: dict[int, list[Visit]] = defaultdict(list)
    rooms = building.places("meeting")
    for start in MEETINGS_AT:
        invited = rng.sample(list(teams.values()), min(len(rooms), len(teams)))
        for room, team in zip(rooms, invited, strict=False):
            minutes = rng.choice((30.0, 45.0, 60.0))
            for person in rng.sample(team, min(len(team), seats[room])):
                # People come a little early or late, and leave together but for the queue at the door.
                offset = rng.gauss(0, 2)
                meetings[person].append(Visit(start + offset, minutes - offset + rng.uniform(0, 2), room))
    return meetings


def _plan_day(
    building: Building, person: int, desk: str, meetings: Sequence[Visit], rng: Random
) -> list[Goal]:
    stays_late = person % ONE_STAYS_LATE_OF == ONE_STAYS_LATE_OF // 2
    arrive = _around(8.75 * HOUR, 40, 6 * HOUR, 10.75 * HOUR, rng)
    leave = _around(arrive + 9 * HOUR, 35, arrive + 6 * HOUR, 21.5 * HOUR, rng)
    if stays_late:
        leave = rng.uniform(24.2 * HOUR, 25.8 * HOUR)
    visits = [*meetings, *_breaks(building, arrive, leave, rng)]
    return [Goal(arrive, desk), *_around_the_desk(visits, desk, arrive, leave), Goal(leave, None)]


def _around(mean: float, deviation: float, low: float, high: float, rng: Random) -> float:
    return min(max(rng.gauss(mean, deviation), low), high)


def _breaks(building: Building, arrive: float, leave: float, rng: Random) -> Iterator[Visit]:
    kitchens, booths = building.places("kitchen"), building.places("booth")
    eats_out = rng.random() < 0.75 or not kitchens
    lunch = _around(12.2 * HOUR, 25, 11.25 * HOUR, 13.75 * HOUR, rng)
    yield Visit(lunch, rng.uniform(25, 60), None if eats_out else rng.choice(kitchens))
    for _ in range(rng.randint(1, 4) if kitchens else 0):
        yield Visit(rng.uniform(arrive, leave), rng.uniform(3, 12), rng.choice(kitchens))
    if booths and rng.random() < 0.3:
        yield Visit(rng.uniform(arrive, leave), rng.uniform(5, 30), rng.choice(booths))
    if rng.random() < 0.2:
        yield Visit(rng.uniform(arrive, leave), rng.uniform(5, 15), None)


def _around_the_desk(visits: Iterable[Visit], desk: str, arrive: float, leave: float) -> Iterator[Goal]:
    """A visit waits for the one before it, and is dropped when it would last past going home."""
    free = arrive
    for visit in sorted(visits, key=lambda visit: visit.start):
        start = max(visit.start, free)
        end = start + visit.minutes
        if end < leave:
            yield Goal(start, visit.place)
            yield Goal(end, desk)
            free = end


class _Walker:
    """Walks one person after the other, and keeps the milliseconds in which a doorway is taken."""

    def __init__(self, routes: Routes, clock: Clock, taken: set[tuple[str, int]], rng: Random) -> None:
        self._routes = routes
        self._clock = clock
        self._taken = taken
        self._rng = rng

    def walk(self, goals: Iterable[Goal]) -> list[Step]:
        steps: list[Step] = []
        place: Place = None
        free = 0
        for goal in goals:
            # Someone still on the way, or caught by a clock that is put forward, goes on from there.
            free = max(free, self._clock.instant(goal.start))
            while place != goal.place:
                doorway, instant = self._pass(place, goal.place, free)
                place = doorway.beyond(place)
                steps.append(Step(instant, doorway.doorway_id, place))
                free = instant + self._rng.randint(*WALK_MILLISECONDS)
        return steps

    def _pass(self, place: Place, target: Place, instant: int) -> tuple[Doorway, int]:
        """Choose a doorway and the first free millisecond in it; waiting for that one may find it closed."""
        while True:
            doorway = self._rng.choice(self._routes.next_doors(place, target, instant))
            while (doorway.doorway_id, instant) in self._taken:
                instant += 1
            if doorway.is_open(instant):
                self._taken.add((doorway.doorway_id, instant))
                return doorway, instant
