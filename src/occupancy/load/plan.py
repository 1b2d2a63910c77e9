"""What a load consists of."""

from __future__ import annotations

import math
from dataclasses import dataclass

from occupancy.errors import InvalidInput

# As fast as the connections allow: the next request when one of them is free.
UNPACED = math.inf


@dataclass(frozen=True, slots=True)
class Phase:
    """Some seconds at one rate, in messages a second."""

    seconds: float
    rate: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A load, the same for the same seed.

    A message is an event on its way, a request a message or, with a `batch_size`, that many of them. Of the messages,
    the share `duplicates` repeats an earlier one, `late` tells of an event up to `max_delay` seconds ago, and
    `out_of_order` of one before that which its DPU told of last. The first `warm_up` seconds are not measured.
    """

    dpus: int
    phases: tuple[Phase, ...]
    late: float = 0.0
    max_delay: float = 3600.0
    duplicates: float = 0.0
    out_of_order: float = 0.0
    batch_size: int = 1
    warm_up: float = 0.0
    seed: int = 1

    def __post_init__(self) -> None:
        """Raise InvalidInput, with the option's name, for what no load can be."""
        _require(self.dpus >= 1, "dpus", self.dpus, "at least one DPU is needed")
        _require(bool(self.phases), "rate", None, "a load needs a rate and a duration")
        for phase in self.phases:
            _require(phase.rate > 0, "rate", phase.rate, "a rate is more than 0 messages a second")
            _require(0 < phase.seconds < math.inf, "duration", phase.seconds, "a duration is more than 0")
        _require(
            len(self.phases) == 1 or not self.unpaced,
            "rate",
            "max",
            "a load as fast as it goes has one phase only",
        )
        for name in ("late", "duplicates", "out_of_order"):
            share = getattr(self, name)
            _require(0 <= share <= 1, name, share, "a share is between 0 and 1")
        shares = self.late + self.duplicates + self.out_of_order
        _require(
            shares <= 1, "late", shares, "late, duplicates and out-of-order are shares of the same messages"
        )
        _require(self.max_delay >= 0, "max_delay", self.max_delay, "a delay is not negative")
        _require(self.batch_size >= 1, "batch_size", self.batch_size, "a batch holds at least one event")
        _require(0 <= self.warm_up < self.seconds, "warm_up", self.warm_up, "nothing is left to be measured")

    @property
    def seconds(self) -> float:
        """How long messages fall due."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def unpaced(self) -> bool:
        """Whether the service sets the pace."""
        return any(phase.rate == UNPACED for phase in self.phases)


def _require(holds: bool, field: str, value: object, detail: str) -> None:
    if not holds:
        raise InvalidInput(f"{field}: {detail}", field=field, value=value)
