"""Which of the database's ways to store events is taken."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic

# How many seconds events are looked at one by one after some were not new.
_CAREFUL = 30.0


class Way:
    """How a writer stores events; it learns from what became of the last ones.

    A guess that all are new and of known DPUs, as those of the last half minute were, stores them for three quarters of
    the work. One that was wrong costs half as much again.
    """

    def __init__(
        self, *, guesses: bool = False, holds: bool = False, now: Callable[[], float] = monotonic
    ) -> None:
        """`guesses`: whether events may be taken for new. `now`: a clock in seconds.

        `holds`: what belongs to a chunk that is being compressed is held until that is over, and taken for accepted;
        for those only who promise nobody that it is counted. Without it, such events are refused.
        """
        self._guesses = guesses
        self._holds = holds
        self._now = now
        self._careful_until = -inf

    @property
    def call(self) -> str:
        """The call of a SQL function, with organization, DPUs, times, directions and numbers as $1 to $5."""
        if self._guesses and self._now() >= self._careful_until:
            return f"occupancy.ingest_new_crossings($1, $2, $3, $4, $5, {str(self._holds).lower()})"
        function = "hold_crossings" if self._holds else "ingest_crossings"
        return f"occupancy.{function}($1, $2, $3, $4, $5)"

    def found(self, any_left: bool) -> None:
        """Take note of a group, and whether any event of it was not stored."""
        if any_left:
            self._careful_until = self._now() + _CAREFUL


# Each event is looked at.
CAREFUL = Way()
