"""The open loop: each message is sent when it is due, whatever the service does."""

from __future__ import annotations

import asyncio
import gc
import heapq
import math
import time
from collections import deque
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Protocol

from occupancy.load.ledger import Ledger
from occupancy.load.plan import Plan
from occupancy.load.schedule import Schedule
from occupancy.load.tally import Delivery, Tally
from occupancy.load.verdict import Fate, Verdict

# The clock of the event loop counts milliseconds; a finer pace would only cost.
_SHORTEST_SLEEP = 0.001
_LONGEST_SLEEP = 0.05
# Answers must be read between the sends, also when many messages are due at once.
_MOST_PER_TURN = 200
_FIRST_RETRY, _LONGEST_RETRY = 0.5, 30.0


class Transport(Protocol):
    """The way to the service. It calls the generator's `judged` for each delivery sent, and `free` when it is ready."""

    async def open(self) -> None:
        """Get ready. Raises InvalidInput if the other side cannot be reached."""

    async def close(self) -> None:
        """Let go; what is on its way is lost."""

    def ready(self) -> bool:
        """Whether another delivery can be sent now."""

    def send(self, delivery: Delivery) -> None:
        """Send it; only while ready."""

    def poll(self) -> None:
        """Called every few milliseconds, for transports that have no events of their own."""

    def expire(self, seconds: float) -> None:
        """Give up on what has been on its way for so long."""


@dataclass(frozen=True, slots=True)
class Conduct:
    """How the devices behave: whether they send again what was refused or lost, and for how many seconds they wait.

    `timeout`: for an answer; `patience`: for a connection, if not for ever; `drain`: after the last message was due.
    """

    retry: bool = False
    timeout: float = 30.0
    drain: float = 30.0
    patience: float = math.inf


class Generator:
    """Sends what the schedule says, over a transport, and keeps the ledger and the tally."""

    def __init__(
        self, plan: Plan, conduct: Conduct, schedule: Schedule, ledger: Ledger, tally: Tally
    ) -> None:
        self._plan = plan
        self._conduct = conduct
        self._schedule = schedule
        self._ledger = ledger
        self._tally = tally
        self._transport: Transport | None = None
        self._waiting: deque[Delivery] = deque()
        self._retries: list[tuple[float, int, Delivery]] = []
        self._flying: dict[int, Delivery] = {}
        self._batch: list[int] = []
        self._number = count()
        self._random = Random(plan.seed)  # noqa: S311 -- how long devices wait before they try again
        self._begun = 0.0
        self._ended: asyncio.Future[None] | None = None
        self.cpu_seconds = 0.0
        self.seconds = 0.0

    def now(self) -> float:
        """Seconds since the start."""
        # not the loop's own clock, which stands still while callbacks run
        return time.perf_counter() - self._begun

    @property
    def start(self) -> int:
        """When it began, in microseconds since 1970."""
        return self._schedule.start

    def instant(self) -> int:
        """Now, in microseconds since 1970, by the clock that events are dated by."""
        return self.start + int(self.now() * 1_000_000)

    @property
    def waiting(self) -> int:
        """How many requests are due and wait for a connection."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """How many requests are on their way."""
        return len(self._flying)

    async def run(self, transport: Transport) -> None:
        """Send everything, and wait for the answers."""
        self._transport = transport
        # Nothing of before is garbage during the run, and looking through it would make messages late.
        gc.collect()
        gc.freeze()
        cpu_before = time.process_time()
        self._ended = asyncio.get_running_loop().create_future()
        self._schedule.start = time.time_ns() // 1000
        self._begun = time.perf_counter()
        try:
            self._turn()
            await self._ended
        finally:
            gc.unfreeze()
            self.cpu_seconds = time.process_time() - cpu_before
            self.seconds = self.now()
            self._give_up()

    def _turn(self) -> None:
        """Do what is due, and come back when more is."""
        try:
            again = self._work()
        except Exception as error:
            if self._ended is not None and not self._ended.done():
                self._ended.set_exception(error)
            return
        if again is not None:
            asyncio.get_running_loop().call_later(again, self._turn)

    def _work(self) -> float | None:
        now = self.now()
        transport = self._open_transport()
        if int(now) > self._tally.second.second:
            self._tally.turn(int(now), self.waiting, self.in_flight)
            transport.expire(self._conduct.timeout)
        self._lose_patience(now)
        self._send_due(now)
        transport.poll()
        if self._is_over(self.now()):
            assert self._ended is not None  # noqa: S101
            self._ended.set_result(None)
            return None
        return self._pause()

    def _pause(self) -> float:
        soonest = [self._schedule.due] if self._schedule.due is not None and not self._plan.unpaced else []
        if self._retries:
            soonest.append(self._retries[0][0])
        now = self.now()
        pause = min(soonest, default=now + _LONGEST_SLEEP) - now
        if pause <= 0:
            return 0.0
        return min(max(pause, _SHORTEST_SLEEP), _LONGEST_SLEEP)

    def _is_over(self, now: float) -> bool:
        if now >= self._plan.seconds + self._conduct.drain:
            return True
        all_due = now >= self._plan.seconds if self._plan.unpaced else self._schedule.due is None
        return all_due and not (self._waiting or self._retries or self._flying or self._batch)

    def _send_due(self, now: float) -> None:
        while self._retries and self._retries[0][0] <= now:
            self._offer(heapq.heappop(self._retries)[2])
        if self._plan.unpaced:
            self.free()
            return
        schedule, size = self._schedule, self._plan.batch_size
        for _ in range(_MOST_PER_TURN * size):
            due = schedule.due
            if due is None or due > now:
                break
            self._batch.append(schedule.take(due))
            if len(self._batch) == size or schedule.due is None:
                self._come_up(due, now)

    def _lose_patience(self, now: float) -> None:
        oldest = now - self._conduct.patience
        while self._waiting and self._waiting[0].due < oldest:
            self._tally.final(self._waiting.popleft())

    def _come_up(self, due: float, now: float) -> None:
        delivery = Delivery(self._batch, due)
        self._batch = []
        self._tally.came_up(delivery, now)
        self._offer(delivery)

    def _offer(self, delivery: Delivery) -> None:
        if self._waiting or not self._open_transport().ready():
            self._waiting.append(delivery)
        else:
            self._send(delivery)

    def _send(self, delivery: Delivery) -> None:
        self._ledger.send(delivery.events)
        self._flying[id(delivery)] = delivery
        self._tally.sent(delivery, self.now())
        self._open_transport().send(delivery)

    def free(self) -> None:
        """Called by the transport: it is ready for what waits."""
        transport = self._transport
        if transport is None or self._ended is None or self._ended.done():
            return  # before the start, or after the end
        while self._waiting and transport.ready():
            self._send(self._waiting.popleft())
        if self._plan.unpaced:
            for _ in range(_MOST_PER_TURN):
                now = self.now()
                if not transport.ready() or now >= self._plan.seconds:
                    break
                self._batch = [self._schedule.take(now) for _ in range(self._plan.batch_size)]
                self._come_up(now, now)

    def judged(self, delivery: Delivery, verdict: Verdict) -> None:
        """Called by the transport: what became of a delivery."""
        if self._flying.pop(id(delivery), None) is None:
            return  # it was given up before
        now = self.now()
        self._tally.judged(delivery, verdict, now)
        self._enter(delivery.events, verdict, now)
        if verdict.fate is Fate.STALE:
            # As every HTTP client does: the service closed the connection while nothing was on it.
            self._waiting.appendleft(delivery)
        elif self._conduct.retry and verdict.fate in {Fate.REFUSED, Fate.UNKNOWN}:
            again = now + self._patience(delivery.attempts, verdict.retry_after)
            heapq.heappush(self._retries, (again, next(self._number), delivery))
        else:
            self._tally.final(delivery)

    def _enter(self, events: list[int], verdict: Verdict, now: float) -> None:
        ledger = self._ledger
        if verdict.fate is Fate.ACKNOWLEDGED:
            if not verdict.rejected:
                ledger.acknowledge(events, now)
                return
            ledger.acknowledge([e for i, e in enumerate(events) if i not in verdict.rejected], now)
            ledger.refuse([events[i] for i in verdict.rejected])
        elif verdict.fate in {Fate.REFUSED, Fate.FAILED}:
            ledger.refuse(events)
        else:
            ledger.lose(events)

    def _patience(self, attempts: int, retry_after: float | None) -> float:
        """How long a device waits: as it is told, or twice as long each time, and not all devices equally long."""
        if retry_after is not None:
            return retry_after + self._random.random()
        longest: float = min(_FIRST_RETRY * 2 ** (attempts - 1), _LONGEST_RETRY)
        return longest * (0.5 + self._random.random() / 2)

    def _give_up(self) -> None:
        for delivery in self._flying.values():
            self._ledger.lose(delivery.events)
            delivery.latest = Verdict(Fate.UNKNOWN, "no answer before the end")
            self._tally.requests[delivery.latest.label] += 1
        abandoned = [*self._flying.values(), *self._waiting, *(retry[2] for retry in self._retries)]
        if self._batch:
            abandoned.append(Delivery(self._batch, self.now()))
            self._tally.scheduled += len(self._batch)
        for delivery in abandoned:
            self._tally.final(delivery)
        self._flying.clear()
        self._waiting.clear()
        self._retries.clear()
        self._tally.turn(int(self.now()) + 1, 0, 0)

    def _open_transport(self) -> Transport:
        assert self._transport is not None  # noqa: S101 -- run() sets it first
        return self._transport
