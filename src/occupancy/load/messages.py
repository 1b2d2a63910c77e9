"""What a DPU and a gateway send, as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from occupancy.load.ledger import Ledger
from occupancy.load.schedule import Schedule
from occupancy.load.site import Site

_MICROSECONDS = 1_000_000


class Messages:
    """Events as JSON; the text of a second is made once, since most events of a load share it with others."""

    def __init__(self, site: Site, schedule: Schedule, ledger: Ledger) -> None:
        self._site = site
        self._schedule = schedule
        self._ledger = ledger
        # by interpolation below: percent signs are not in a prefix
        self._form = f'{{"dpu_id":"{site.prefix}-dpu-%d","timestamp":"%s.%06dZ","direction":%d,"seq":%d}}'
        self._seconds: dict[int, str] = {}

    def text(self, event: int) -> str:
        """One event."""
        second, microsecond = divmod(self._ledger.times[event], _MICROSECONDS)
        shown = self._seconds.get(second)
        if shown is None:
            shown = self._seconds[second] = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        schedule = self._schedule
        return self._form % (
            schedule.dpu(event),
            shown,
            microsecond,
            self._ledger.directions[event],
            schedule.seq(event),
        )

    def body(self, events: Sequence[int]) -> bytes:
        """The body of a request: one event as it is, several as `{"events": [...]}`."""
        if len(events) == 1:
            return self.text(events[0]).encode()
        return ('{"events":[' + ",".join(map(self.text, events)) + "]}").encode()

    def key(self, event: int) -> bytes:
        """The id of the DPU of an event."""
        return self._site.dpu_id(self._schedule.dpu(event)).encode()
