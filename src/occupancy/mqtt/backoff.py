"""How long to wait before the next try."""

from __future__ import annotations

import random


class Backoff:
    """Doubles from `shortest` to `longest` seconds, less up to half by chance: many that wait do not come together."""

    def __init__(self, shortest: float, longest: float) -> None:
        self._shortest = shortest
        self._longest = longest
        self._next = shortest

    def next(self) -> float:
        """The seconds to wait now."""
        delay = self._next
        self._next = min(2 * delay, self._longest)
        return delay * random.uniform(0.5, 1)  # noqa: S311 -- not a secret

    def reset(self) -> None:
        """It went well: begin anew next time."""
        self._next = self._shortest
