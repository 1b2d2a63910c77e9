"""What the sensors report of the people's steps."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from occupancy.simulation.building import Building, Placement
from occupancy.simulation.clock import to_datetime
from occupancy.simulation.people import Step


@dataclass(frozen=True, slots=True)
class Event:
    """A sensor saw one person.

    Attributes:
        dpu_id: the sensor.
        timestamp: when, aware UTC, whole milliseconds.
        direction: +1 towards the sensor, into the side on which it hangs; -1 away from it.
        seq: the sensor's own count of its events, from 1.
    """

    dpu_id: str
    timestamp: datetime
    direction: int
    seq: int


def measure(building: Building, days: Iterable[Sequence[Step]]) -> list[Event]:
    """Return the events of all steps, in the order in which they happened.

    Raises:
        ValueError: a step has no sensor above it.
    """
    doorways = {doorway.doorway_id: doorway for doorway in building.doorways}
    above: dict[str, list[Placement]] = defaultdict(list)
    for placement in building.placements:
        above[placement.doorway_id].append(placement)
    seen: list[tuple[datetime, str, int]] = []
    for step in (step for day in days for step in day):
        timestamp = to_datetime(step.instant)
        placement = _placement_at(above[step.doorway_id], timestamp, step)
        towards = step.entered == doorways[step.doorway_id].side(placement.facing)
        seen.append((timestamp, placement.dpu_id, 1 if towards else -1))
    return _numbered(sorted(seen))


def _placement_at(placements: Sequence[Placement], timestamp: datetime, step: Step) -> Placement:
    for placement in placements:
        started = placement.start is None or placement.start <= timestamp
        if started and (placement.end is None or timestamp < placement.end):
            return placement
    raise ValueError(f"no sensor above {step.doorway_id} at {timestamp.isoformat()}")


def _numbered(seen: Iterable[tuple[datetime, str, int]]) -> list[Event]:
    last: dict[str, int] = defaultdict(int)
    events: list[Event] = []
    for timestamp, dpu_id, direction in seen:
        last[dpu_id] += 1
        events.append(Event(dpu_id, timestamp, direction, last[dpu_id]))
    return events
