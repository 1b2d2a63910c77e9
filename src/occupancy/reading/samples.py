"""How fresh is a replica? Where the primary stood at which instant, by the clock of this process alone."""

from __future__ import annotations

import time
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from occupancy.reading.position import Standing

_MOST = 4096
# Instants closer to each other than this (nanoseconds) are not told apart.
_GRAIN = 10_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """At `instant` (monotonic, in nanoseconds) nothing was acknowledged that is not at or below `lsn`."""

    instant: int
    lsn: int

    def age(self) -> timedelta:
        """For how long that is so."""
        return timedelta(microseconds=-(-(time.monotonic_ns() - self.instant) // 1000))

    def as_of(self) -> datetime:
        """The instant by the clock on the wall as it stands now (aware, UTC)."""
        # In this order: what passes in between makes the instant earlier, never later.
        now = datetime.now(UTC)
        return now - self.age()


class Samples:
    """The latest samples of one primary, the oldest first. Bounded: what is long ago is known less finely."""

    def __init__(self) -> None:
        self._of: Standing | None = None
        self._samples: list[Sample] = []

    @property
    def primary(self) -> Standing | None:
        """Where the primary stood when it was last asked; None: it never was."""
        return self._of

    def add(self, instant: int, found: Standing) -> None:
        """Take in where the primary stood, as found by a statement that was sent after `instant` (monotonic, ns)."""
        sample = Sample(instant, found.position.lsn)
        if self._of is None or self._of.position.history != found.position.history:
            # Another server, or the same one put back: what was known says nothing of its positions.
            self._samples.clear()
        self._of = found
        samples = self._samples
        if samples and sample.lsn < samples[-1].lsn:
            samples.clear()
        if samples and (sample.lsn == samples[-1].lsn or self._is_close(sample)):
            samples[-1] = sample
            return
        samples.append(sample)
        if len(samples) > _MOST:
            del samples[1 : _MOST // 2 : 2]

    def reached(self, server: Standing) -> Sample | None:
        """The latest sample that a server has reached. None: none is known, or it is no replica of the primary."""
        if not self.serves(server):
            return None
        number = bisect_right(self._samples, server.position.lsn, key=lambda sample: sample.lsn)
        return self._samples[number - 1] if number else None

    def serves(self, server: Standing) -> bool:
        """Whether a server is a replica of the primary, or the primary itself."""
        primary = self._of
        if primary is None or primary.position.history != server.position.history:
            return False
        # One that was promoted goes its own way.
        return server.is_standby or server.started_at == primary.started_at

    def _is_close(self, sample: Sample) -> bool:
        # To the one before the last: else samples that come quickly would replace each other for ever.
        return len(self._samples) > 1 and sample.instant - self._samples[-2].instant < _GRAIN
