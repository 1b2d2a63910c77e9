"""What is known of every event: what it says, and whether the service has it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable


class Ledger:
    """A row for each message, by its number from 0: 19 bytes, so that a load of millions fits.

    The row of a message that repeats an earlier one holds no event: its direction is 0. An event is *stored* once a
    message with it was acknowledged, *possible* from when it is first sent for as long as it may be stored.
    """

    __slots__ = ("_stored_at", "directions", "distinct", "in_flight", "stored", "times", "unknown")

    def __init__(self) -> None:
        self.times = array("q")  # microseconds since 1970
        self.directions = array("b")
        self.stored = bytearray()
        self.in_flight = array("I")  # messages with it, in flight now
        self.unknown = bytearray()
        self._stored_at = array("f")
        self.distinct = 0  # events stored, each once

    def __len__(self) -> int:
        return len(self.times)

    def add(self, time: int, direction: int) -> None:
        """The next message: an event at `time` (microseconds since 1970), or direction 0 for a repeated one."""
        self.times.append(time)
        self.directions.append(direction)
        self.stored.append(0)
        self.in_flight.append(0)
        self.unknown.append(0)
        self._stored_at.append(0.0)

    def send(self, events: Iterable[int]) -> None:
        """They are on their way: from now on the service may have them."""
        in_flight = self.in_flight
        for event in events:
            in_flight[event] += 1

    def acknowledge(self, events: Iterable[int], now: float) -> None:
        """The service has them; `now` in seconds since the start."""
        in_flight, stored = self.in_flight, self.stored
        for event in events:
            in_flight[event] -= 1
            if not stored[event]:
                stored[event] = 1
                self._stored_at[event] = now
                self.distinct += 1

    def refuse(self, events: Iterable[int]) -> None:
        """The service has said that it did not take them."""
        in_flight = self.in_flight
        for event in events:
            in_flight[event] -= 1

    def lose(self, events: Iterable[int]) -> None:
        """Nobody knows whether the service has them."""
        in_flight, unknown = self.in_flight, self.unknown
        for event in events:
            in_flight[event] -= 1
            unknown[event] = 1

    def is_stored(self, event: int, before: float) -> bool:
        """Whether it was acknowledged, `before` an instant in seconds since the start."""
        return bool(self.stored[event]) and self._stored_at[event] <= before

    def is_possible(self, event: int) -> bool:
        """Whether it is stored or may be."""
        return bool(self.stored[event] or self.in_flight[event] or self.unknown[event])
