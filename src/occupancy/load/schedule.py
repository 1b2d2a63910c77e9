"""Which message is due when, and what it says."""

from __future__ import annotations

import math
from random import Random

from occupancy.load.ledger import Ledger
from occupancy.load.plan import Plan

_MICROSECONDS = 1_000_000
# A device sends again within seconds: a repeated message is one of those sent that long ago at most.
_REPEATED_WITHIN_SECONDS = 10
_MOST_REPEATED_WITHIN = 10_000


class Schedule:
    """The messages in order, the same for the same seed.

    DPUs take turns, always in the same order: so each sends at a fixed phase of its interval, and all together at a
    fixed rate, one message in each slot of 1/rate seconds, anywhere within it.
    """

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        """`ledger`, empty, gets a row for each message taken."""
        self._plan = plan
        self._ledger = ledger
        self.start = 0  # microseconds since 1970, once it has begun
        # repeatable on purpose; nothing here is a secret
        self._random = Random(plan.seed)  # noqa: S311
        self.order = list(range(plan.dpus))
        self._random.shuffle(self.order)
        self._phases = iter(plan.phases)
        self._phase_begin = 0.0
        self._phase_end = 0.0
        self._rate = 1.0
        self._slot = 0
        self.due: float | None = 0.0
        self._next_phase()

    def dpu(self, message: int) -> int:
        """The number of the DPU that sends a message."""
        return self.order[message % self._plan.dpus]

    def seq(self, message: int) -> int:
        """The DPU's own number of its message, from 1."""
        return message // self._plan.dpus + 1

    def take(self, due: float) -> int:
        """The event of the next message, due at `due` seconds since the start; moves `self.due` to the one after.

        Mostly it is a new event, whose number is that of the message; else that of an earlier one.
        """
        event = self._event(due)
        self._move_on()
        return event

    def _event(self, due: float) -> int:
        plan, ledger, random = self._plan, self._ledger, self._random.random
        number = len(ledger)
        time = self.start + int(due * _MICROSECONDS)
        draw = random()
        if draw < plan.duplicates:
            if number:
                ledger.add(time, 0)
                return self._earlier(number)
        elif draw < plan.duplicates + plan.late:
            time -= 1 + int(random() * plan.max_delay * _MICROSECONDS)
        elif draw < plan.duplicates + plan.late + plan.out_of_order:
            before = ledger.times[number - plan.dpus] if number >= plan.dpus else time
            time = before - 1 - int(random() * _MICROSECONDS)
        ledger.add(time, 1 if random() < 0.5 else -1)
        return number

    def _earlier(self, number: int) -> int:
        if math.isinf(self._rate):
            reach = float(_MOST_REPEATED_WITHIN)
        else:
            reach = min(self._rate * _REPEATED_WITHIN_SECONDS, _MOST_REPEATED_WITHIN)
        event = max(0, number - 1 - int(self._random.random() * reach))
        # the first message is never a repeated one
        while not self._ledger.directions[event]:
            event -= 1
        return event

    def _move_on(self) -> None:
        if math.isinf(self._rate):
            return
        self._slot += 1
        self._find_due()

    def _find_due(self) -> None:
        due = self._phase_begin + (self._slot + self._random.random()) / self._rate
        if due < self._phase_end:
            self.due = due
        else:
            self._next_phase()

    def _next_phase(self) -> None:
        phase = next(self._phases, None)
        if phase is None:
            self.due = None
            return
        self._phase_begin, self._phase_end = self._phase_end, self._phase_end + phase.seconds
        self._rate, self._slot = phase.rate, 0
        if math.isinf(phase.rate):
            self.due = self._phase_begin
        else:
            self._find_due()
