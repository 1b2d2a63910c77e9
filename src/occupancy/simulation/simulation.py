"""One simulated day: what is declared, what is measured, what arrives, and what is true."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from occupancy.simulation.building import BuildingPlan, Move, construct, with_moved_dpu
from occupancy.simulation.chance import seeded
from occupancy.simulation.clock import NEXT_MIDNIGHT, NOON, Clock, to_datetime, to_instant
from occupancy.simulation.defects import NO_DEFECTS, Correction, Defects, deliver, misdeclare
from occupancy.simulation.layout import layout
from occupancy.simulation.people import Step, couriers, plan_days, walk
from occupancy.simulation.sensors import Event, measure
from occupancy.simulation.truth import Truth


@dataclass(frozen=True)
class Simulation:
    """A day of people in a building; make one with `simulate`.

    Attributes:
        plan: the building.
        day: the local day. People who stay late leave before 03:00 of the next one.
        seed: the same plan, day, number of people, seed and defects give the same simulation.
        defects: what goes wrong.
        layout: what is first declared (a wrong facing included), ready to be dumped as YAML or JSON.
        corrections: the placements as they should have been declared, where the layout is wrong.
        events: what the sensors measured, in the order in which it happened (by timestamp, then sensor).
    """

    plan: BuildingPlan
    day: date
    seed: int
    defects: Defects
    layout: dict[str, Any]
    corrections: list[Correction]
    events: list[Event]
    _truth: Truth = field(repr=False, compare=False)

    def deliveries(self, batch_size: int = 500) -> Iterator[list[Event]]:
        """Yield what reaches the service, in order of arrival and with the defects.

        Every event arrives at least once. Each call yields the same batches. An event that is neither
        late nor repeated arrives at its timestamp; a late one is in a later batch when `batch_size` others
        overtook it.

        Args:
            batch_size: events per batch; the last batch may have fewer.

        Raises:
            ValueError: `batch_size` is not positive.
        """
        return deliver(self.events, self.defects, self.seed, batch_size)

    def net(self, space_id: str, at: datetime) -> int:
        """Return how many people really are inside a space at an instant.

        It comes from the people's own positions, not from the events.

        Args:
            space_id: the space; people in spaces below it are inside it too.
            at: an aware datetime, in any zone. Steps of that very millisecond have happened.

        Raises:
            LookupError: there is no such space.
            ValueError: `at` has no time zone.
        """
        return self._truth.count(space_id, to_instant(at))

    def spaces(self) -> list[str]:
        """Return the ids of all spaces, parents before children."""
        return [space["space_id"] for space in self.layout["spaces"]]

    def instants(self, count: int, seed: int = 0) -> list[datetime]:
        """Return `count` instants at which a wrong answer would show, in order, aware UTC.

        They are the local midnights at both ends of the day, noon (when a sensor is moved) and the
        milliseconds around it, then the milliseconds at, just before and just after events drawn at random.
        Some may repeat.

        Args:
            count: how many.
            seed: draws other events.

        Raises:
            ValueError: `count` is negative.
        """
        if count < 0:
            raise ValueError(f"count must be at least 0, not {count}")
        rng = seeded(seed, "instants")
        clock = _clock(self.plan, self.day)
        midnight, noon, next_midnight = map(clock.instant, (0, NOON, NEXT_MIDNIGHT))
        chosen = [noon, noon - 1, noon + 1, midnight, next_midnight][:count]
        for _ in range(count - len(chosen)):
            if self.events:
                chosen.append(to_instant(rng.choice(self.events).timestamp) + rng.choice((-1, 0, 1)))
            else:
                chosen.append(rng.randint(midnight, next_midnight))
        return [to_datetime(instant) for instant in sorted(chosen)]


def simulate(
    plan: BuildingPlan, day: date, *, people: int, seed: int, defects: Defects = NO_DEFECTS
) -> Simulation:
    """Simulate one day.

    Everybody starts outside and ends outside: most arrive in the morning, one in forty leaves after midnight.

    Args:
        plan: the building.
        day: the day, local to the building.
        people: how many come; with a moved sensor two couriers come as well, at noon, if anybody does.
        seed: any integer. The building depends on the plan alone; the people do not depend on defects, except
            that a moved sensor opens and closes doorways.
        defects: what goes wrong; by default nothing.

    Raises:
        ValueError: `people` is negative.
    """
    if people < 0:
        raise ValueError(f"people must be at least 0, not {people}")
    clock = _clock(plan, day)
    building = construct(plan)
    move: Move | None = None
    others: list[list[Step]] = []
    if defects.moved_dpu:
        building, move = with_moved_dpu(building, clock.instant(NOON))
        others = couriers(move) if people else []
    goals = plan_days(building, people, seeded(seed, "plans"))
    days = others + walk(goals, building.doorways, clock, seeded(seed, "walks"), others)
    events = measure(building, days)
    declared, corrections = building.placements, list[Correction]()
    if defects.reversed_dpu:
        declared, corrections = misdeclare(building, events, move, seeded(seed, "reversed"))
    return Simulation(
        plan=plan,
        day=day,
        seed=seed,
        defects=defects,
        layout=layout(plan, building, declared),
        corrections=corrections,
        events=events,
        _truth=Truth(building.spaces, days),
    )


def _clock(plan: BuildingPlan, day: date) -> Clock:
    return Clock(day, ZoneInfo(plan.time_zone))
