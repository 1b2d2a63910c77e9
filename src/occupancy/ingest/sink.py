"""Where events go."""

from __future__ import annotations

from typing import Protocol

from occupancy.database import Ingested
from occupancy.parse import Parsed


class Sink(Protocol):
    """Takes events, and answers when all of them are durable."""

    async def put(self, organization: int, parsed: Parsed) -> Ingested:
        """Store events and keep rejected ones aside.

        Raises Overloaded where too many wait already, and DatabaseUnavailable or Busy where they cannot be stored now:
        then the same events may be sent again, for an event is stored once however often it comes.
        """
        ...


class BoundedSink(Sink, Protocol):
    """A sink that knows beforehand when it takes no more."""

    @property
    def waiting(self) -> int:
        """How many events are not durable yet."""
        ...

    def require_room(self) -> None:
        """Raise Overloaded where no further event is taken now."""
        ...
