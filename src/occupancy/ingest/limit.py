"""How much one caller may send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from occupancy.errors import Overloaded

# A caller may send what it has not sent for this many seconds at once.
_BURST = 10.0


class RateLimit:
    """A bucket of tokens for each caller, of this process: `rate` events a second, ten seconds of it at once.

    A caller is an organization: there is one key for each.
    """

    def __init__(self, rate: float | None, now: Callable[[], float] = monotonic) -> None:
        """No limit where `rate` is None. `now`: a clock in seconds."""
        self._rate = rate
        self._now = now
        # caller to (tokens, when they were counted)
        self._buckets: dict[int, tuple[float, float]] = {}

    @contextmanager
    def taking(self, caller: int, events: int) -> Iterator[None]:
        """Take tokens for what is done inside; they are given back where that is Overloaded, for nothing came of it."""
        self.take(caller, events)
        try:
            yield
        except Overloaded:
            if self._rate is not None:
                tokens, counted = self._buckets[caller]
                self._buckets[caller] = (tokens + events, counted)
            raise

    def take(self, caller: int, events: int) -> None:
        """Take one token for each event. Raises Overloaded where there are too few; then none is taken.

        A bucket that is full lets any request through, and then owes what it had not: a request larger than the bucket
        must not be refused for ever.
        """
        if self._rate is None:
            return
        now = self._now()
        most = self._rate * _BURST
        tokens, counted = self._buckets.get(caller, (most, now))
        tokens = min(most, tokens + (now - counted) * self._rate)
        wanted = min(float(events), most)
        if tokens < wanted:
            raise Overloaded(
                f"this key may send {self._rate:g} events a second",
                retry_after=(wanted - tokens) / self._rate,
            )
        self._buckets[caller] = (tokens - events, now)
