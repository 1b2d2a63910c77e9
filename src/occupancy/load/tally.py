"""What happened, counted and timed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from occupancy.load.latencies import Latencies
from occupancy.load.verdict import Fate, Verdict


@dataclass(slots=True)
class Delivery:
    """A request: its events, when it was due and when it was sent last (seconds since the start), how often sent."""

    events: list[int]
    due: float
    sent: float = 0.0
    attempts: int = 0
    latest: Verdict | None = None  # on the latest attempt


@dataclass(slots=True)
class Second:
    """One second of the run, in messages; latencies of what was acknowledged, in seconds from when it was due."""

    second: int
    due: int = 0
    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    others: int = 0  # failed, unknown or rejected
    waiting: int = 0
    in_flight: int = 0
    latencies: list[float] = field(default_factory=list)

    def closed(self) -> dict[str, Any]:
        """The second as it is reported: percentiles in milliseconds in place of latencies."""
        ordered = sorted(self.latencies)
        row: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                "second", "due", "sent", "acknowledged", "refused", "others", "waiting", "in_flight"
            )
        }  # fmt: skip
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            place = max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)
            row[name] = round(ordered[place] * 1000, 3) if ordered else None
        return row


class Tally:
    """Every message ends in exactly one of `messages`; latencies are of requests due after the warm-up."""

    def __init__(self, warm_up: float) -> None:
        self._warm_up = warm_up
        self.messages: Counter[str] = Counter()
        self.measured: Counter[str] = Counter()  # of those due after the warm-up
        self.requests: Counter[str] = Counter()  # attempts, by what came back
        self.codes: Counter[str] = Counter()  # of rejected events
        self.scheduled = 0
        self.attempts = 0
        self.repeated_attempts = 0
        self.response = Latencies()  # from when it was due to the acknowledgement
        self.service = Latencies()  # from when it was sent to the acknowledgement
        self.refusal = Latencies()  # from when it was sent to the refusal
        self.lag = Latencies()  # from when it was due until the generator came to it
        self.timeline: list[dict[str, Any]] = []
        self.second = Second(0)
        self.progress: Callable[[dict[str, Any]], None] = lambda _: None

    def came_up(self, delivery: Delivery, now: float) -> None:
        """The generator has come to a request that was due."""
        self.scheduled += len(delivery.events)
        self.second.due += len(delivery.events)
        if delivery.due >= self._warm_up:
            self.lag.record(now - delivery.due)

    def sent(self, delivery: Delivery, now: float) -> None:
        """A request is on its way."""
        delivery.sent = now
        delivery.attempts += 1
        self.attempts += 1
        self.repeated_attempts += delivery.attempts > 1
        self.second.sent += len(delivery.events)

    def judged(self, delivery: Delivery, verdict: Verdict, now: float) -> None:
        """An attempt has ended: `final` tells of the messages, this of the attempt."""
        self.requests[verdict.label] += 1
        delivery.latest = verdict
        number = len(delivery.events)
        if verdict.fate is Fate.ACKNOWLEDGED:
            self.second.acknowledged += number - len(verdict.rejected)
            self.second.others += len(verdict.rejected)
            self.second.latencies.append(now - delivery.due)
            if delivery.due >= self._warm_up:
                self.response.record(now - delivery.due)
                self.service.record(now - delivery.sent)
        elif verdict.fate is Fate.REFUSED:
            self.second.refused += number
            if delivery.due >= self._warm_up:
                self.refusal.record(now - delivery.sent)
        else:
            self.second.others += number

    def final(self, delivery: Delivery) -> None:
        """Nothing more will be tried with a request."""
        verdict, number = delivery.latest, len(delivery.events)
        if verdict is None:
            ends = {"unsent": number}
        elif verdict.fate is Fate.ACKNOWLEDGED:
            ends = {
                "accepted": verdict.accepted,
                "duplicates": verdict.duplicates,
                "rejected": len(verdict.rejected),
            }
            for code in verdict.rejected.values():
                self.codes[code] += 1
        else:
            ends = {verdict.fate.value: number}
        for end, messages in ends.items():
            self.messages[end] += messages
            if delivery.due >= self._warm_up:
                self.measured[end] += messages

    def turn(self, second: int, waiting: int, in_flight: int) -> None:
        """A new second has begun; the one before it is reported with what waits now."""
        while self.second.second < second:
            self.second.waiting, self.second.in_flight = waiting, in_flight
            self.timeline.append(self.second.closed())
            self.progress(self.timeline[-1])
            self.second = Second(self.second.second + 1)
