"""What the counts must be, as far as it is known what the service has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from occupancy.load.ledger import Ledger
from occupancy.load.schedule import Schedule
from occupancy.load.site import Site


@dataclass(frozen=True, slots=True)
class Flow:
    """How many walked into a space and out of it."""

    entries: int
    exits: int

    def __add__(self, other: Flow) -> Flow:
        return Flow(self.entries + other.entries, self.exits + other.exits)


class Truth:
    """Sums over the ledger, asked for when they are needed: a space has few DPUs, and a DPU few messages."""

    def __init__(self, site: Site, schedule: Schedule, ledger: Ledger) -> None:
        self._site = site
        self._ledger = ledger
        self._first = [0] * site.dpus
        for message, dpu in enumerate(schedule.order):
            self._first[dpu] = message

    def certain(self, space: int, until: int, before: float) -> Flow:
        """What must be in the count of a space at `until` (microseconds since 1970): what was acknowledged `before`.

        `before` is in seconds since the start.
        """
        return self._sum(space, until, lambda event: self._ledger.is_stored(event, before))

    def possible(self, space: int, until: int) -> Flow:
        """What may be in the count at most: certain, on its way, or of unknown fate."""
        return self._sum(space, until, self._ledger.is_possible)

    def events_of(self, space: int) -> float:
        """How many messages its DPUs have sent so far, about."""
        return len(self._ledger) * len(self._site.dpus_of(space)) / self._site.dpus

    def _sum(self, space: int, until: int, counts: Callable[[int], bool]) -> Flow:
        times, directions, step = self._ledger.times, self._ledger.directions, self._site.dpus
        towards = [0, 0]  # the DPUs that hang inside, and those outside
        away = [0, 0]
        for dpu in self._site.dpus_of(space):
            outside = self._site.sign(dpu) < 0
            for event in range(self._first[dpu], len(times), step):
                if times[event] <= until and counts(event):
                    towards[outside] += directions[event] > 0
                    away[outside] += directions[event] < 0
        return Flow(entries=towards[0] + away[1], exits=away[0] + towards[1])
