"""What goes wrong in the field, on request."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

from occupancy.simulation.building import Building, Facing, Move, Placement
from occupancy.simulation.chance import seeded
from occupancy.simulation.sensors import Event

LEAST_DELAY = timedelta(minutes=1)
LONGEST_RETRY = timedelta(minutes=10)


@dataclass(frozen=True)
class Defects:
    """Which defects a simulation has; none by default.

    Attributes:
        late: share of the events, 0 to 1, that arrive late.
        max_delay: the longest delay. Delays are between a minute and this, short ones more often.
        duplicates: share of the events, 0 to 1, that arrive twice, as after a retry.
        shuffled: whether the order within a batch is lost.
        moved_dpu: whether a sensor is moved, at noon local time, from one doorway to another.
        reversed_dpu: whether a sensor hangs the other way round than the layout first says.

    Raises:
        ValueError: a share is not between 0 and 1, or the longest delay is not positive.
    """

    late: float = 0.0
    max_delay: timedelta = timedelta(hours=4)
    duplicates: float = 0.0
    shuffled: bool = False
    moved_dpu: bool = False
    reversed_dpu: bool = False

    def __post_init__(self) -> None:
        for name in ("late", "duplicates"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, not {getattr(self, name)}")
        if self.max_delay <= timedelta(0):
            raise ValueError(f"max_delay must be positive, not {self.max_delay}")

    @classmethod
    def field(cls) -> "Defects":
        """Return every defect at once, in shares that the field knows."""
        return cls(late=0.05, duplicates=0.02, shuffled=True, moved_dpu=True, reversed_dpu=True)


NO_DEFECTS = Defects()


@dataclass(frozen=True)
class Correction:
    """A placement as it should have been declared, from `start` until just before `end` (UTC or no bound)."""

    dpu_id: str
    doorway_id: str
    facing: Facing
    start: datetime | None
    end: datetime | None
    reason: str


def misdeclare(
    building: Building, events: Sequence[Event], move: Move | None, rng: Random
) -> tuple[tuple[Placement, ...], list[Correction]]:
    """Return the placements with one facing wrong, and the correction that puts it right.

    A sensor that saw more is likelier to be the one: where nobody walks, nobody would notice. The moved
    sensor is spared, so that each of the two defects can be told from the other.
    """
    moved = None if move is None else move.dpu_id
    candidates = [event.dpu_id for event in events if event.dpu_id != moved] or building.dpu_ids()[:1]
    wrong = rng.choice(candidates)
    declared = tuple(
        replace(placement, facing=_opposite(placement.facing)) if placement.dpu_id == wrong else placement
        for placement in building.placements
    )
    corrections = [
        Correction(
            real.dpu_id, real.doorway_id, real.facing, real.start, real.end, "mounted the other way round"
        )
        for real in building.placements
        if real.dpu_id == wrong
    ]
    return declared, corrections


def deliver(events: Sequence[Event], defects: Defects, seed: int, batch_size: int) -> Iterator[list[Event]]:
    """Yield batches of events in the order in which they reach the service.

    Raises:
        ValueError: `batch_size` is not positive.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    arrivals = sorted(_arrivals(events, defects, seed), key=lambda arrival: arrival[0])
    shuffler = seeded(seed, "shuffled")
    for start in range(0, len(arrivals), batch_size):
        batch = [event for _, event in arrivals[start : start + batch_size]]
        if defects.shuffled:
            shuffler.shuffle(batch)
        yield batch


def _arrivals(events: Sequence[Event], defects: Defects, seed: int) -> Iterator[tuple[datetime, Event]]:
    late, twice = seeded(seed, "late"), seeded(seed, "duplicates")
    for event in events:
        arrival = event.timestamp
        if late.random() < defects.late:
            arrival += _delay(defects.max_delay, late)
        yield arrival, event
        if twice.random() < defects.duplicates:
            yield arrival + LONGEST_RETRY * twice.random(), event


def _delay(longest: timedelta, rng: Random) -> timedelta:
    least = min(LEAST_DELAY, longest)
    return least + (longest - least) * rng.random() ** 2


def _opposite(facing: Facing) -> Facing:
    return "a" if facing == "b" else "b"
