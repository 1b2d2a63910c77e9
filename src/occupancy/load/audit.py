"""Whether the counts that the service gives are right, during the load and after it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import quote

import msgspec

from occupancy.errors import InvalidInput
from occupancy.load.generator import Generator
from occupancy.load.http import Answer, Questions
from occupancy.load.latencies import Latencies
from occupancy.load.plan import Plan
from occupancy.load.site import Site
from occupancy.load.truth import Flow, Truth

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SPACES_PER_QUESTION = 200
_MOST_EXAMPLES = 10
_AGAIN_SECONDS = 0.5
# Summing up more than that would make messages late.
_MOST_EVENTS_PER_QUESTION = 20_000
# An instant this shortly before the question, or earlier: where most is in flight.
_RECENT_MICROSECONDS = 5_000_000


class Count(msgspec.Struct):
    """One count of the service: a net, and what it comes from."""

    space_id: str
    net: int
    entries: int
    exits: int
    since: str | None


class _Counts(msgspec.Struct):
    items: list[Count]


_counts = msgspec.json.Decoder(_Counts)


@dataclass(frozen=True, slots=True)
class Audit:
    """How counts are checked: every so many seconds, so many spaces, and all at the end.

    `settle` is how many seconds after its acknowledgement an event must be in the counts: 0 where the acknowledgement
    follows the commit.
    """

    every: float = 1.0
    spaces: int = 10
    settle: float = 0.0


@dataclass(slots=True)
class Score:
    """How many counts were compared; `exactly`: those that nothing on its way could touch, so one number was right."""

    compared: int = 0
    exactly: int = 0
    wrong: int = 0

    def summary(self) -> dict[str, int]:
        """As it is reported."""
        return {"compared": self.compared, "exactly": self.exactly, "wrong": self.wrong}


class Counts:
    """What the service says is in spaces of the site, and how long it takes to say it."""

    def __init__(self, site: Site, questions: Questions) -> None:
        self._site = site
        self._questions = questions
        self.unanswered: Counter[str] = Counter()
        self.latencies = Latencies()

    async def at(self, spaces: Sequence[int], instant: int) -> list[Count] | None:
        """The counts of spaces at an instant (microseconds since 1970), in that order; None, and noted, if none."""
        names = ",".join(quote(self._site.space_id(space)) for space in spaces)
        begun = time.perf_counter()
        answer = await self._questions.get(f"/v1/counts?at={_rfc3339(instant)}&space_id={names}")
        if answer.status != 200:
            self.unanswered[_reason(answer)] += 1
            return None
        self.latencies.record(time.perf_counter() - begun)
        items = _counts.decode(answer.body).items
        if [item.space_id for item in items] != [self._site.space_id(space) for space in spaces]:
            self.unanswered["an answer about other spaces"] += 1
            return None
        return items

    def pages(self) -> Iterator[range]:
        """All spaces, in questions of a fair size."""
        for first in range(0, self._site.spaces, _SPACES_PER_QUESTION):
            yield range(first, min(first + _SPACES_PER_QUESTION, self._site.spaces))


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was counted before the load: flows and net of each space, by its number."""

    flows: list[Flow]
    nets: list[int]

    @classmethod
    async def ask(cls, site: Site, counts: Counts) -> Baseline:
        """Ask for it. Raises InvalidInput where the site is not there, or was reset."""
        now = time.time_ns() // 1000
        found: list[Count] = []
        for spaces in counts.pages():
            page = await counts.at(spaces, now)
            if page is None:
                reason = "; ".join(counts.unanswered)
                raise InvalidInput(
                    f"the counts of the site's spaces cannot be asked for: {reason} (--setup declares the site)",
                    field="prefix",
                    value=site.prefix,
                )
            found += page
        for count in found:
            if count.since is not None:
                raise InvalidInput(
                    f"space {count.space_id!r} has a reset: nobody knows here which late events count after it",
                    field="prefix",
                    value=site.prefix,
                )
        return cls([Flow(count.entries, count.exits) for count in found], [count.net for count in found])

    @property
    def empty(self) -> bool:
        """Whether nobody has walked through any door of the site."""
        return not any(flow.entries or flow.exits for flow in self.flows)


class Auditor:
    """Asks for counts and compares them with what the service has acknowledged.

    Of a count at an instant, what was acknowledged before it was asked for must be in it, and nothing that had not
    been sent when the answer came. What is on its way between the two may be in it or not.
    """

    def __init__(
        self,
        audit: Audit,
        site: Site,
        plan: Plan,
        truth: Truth,
        generator: Generator,
        counts: Counts,
        baseline: Baseline,
    ) -> None:
        self._audit = audit
        self._site = site
        self._truth = truth
        self._generator = generator
        self._counts = counts
        self._baseline = baseline
        # Events of before are in every count after the start, and in counts before it one would have to know which.
        self._reach = int(plan.max_delay * 1_000_000) if baseline.empty else 0
        self._random = Random(f"{plan.seed}:questions")  # noqa: S311 -- repeatable on purpose
        self.during = Score()
        self.afterwards = Score()
        self.examples: list[dict[str, Any]] = []

    async def watch(self) -> None:
        """Ask for a few spaces at a random instant, again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._audit.every)
            await self._compare(self._spaces(), self._instant(), self._audit.settle, self.during)

    async def finish(self) -> float:
        """Compare all spaces at the end, again until nothing is wrong, for `settle` seconds at most.

        Returns the seconds after which the counts were as they are told of.
        """
        until = self._generator.instant()
        begun = self._generator.now()
        while True:
            self.afterwards = Score()
            examples = list(self.examples)
            for spaces in self._counts.pages():
                await self._compare(spaces, until, 0, self.afterwards)
            took = self._generator.now() - begun
            if not self.afterwards.wrong or took >= self._audit.settle:
                return took
            self.examples = examples
            await asyncio.sleep(_AGAIN_SECONDS)

    def _spaces(self) -> list[int]:
        """Rooms, and floors, where more is on its way. Few, where DPUs have sent so much that sums take long."""
        chosen: set[int] = set()
        events = 0.0
        for place in range(self._audit.spaces):
            space = self._site.random_space(self._random, floor=bool(place % 2))
            events += self._truth.events_of(space)
            if chosen and events > _MOST_EVENTS_PER_QUESTION:
                break
            chosen.add(space)
        return sorted(chosen)

    def _instant(self) -> int:
        now, start = self._generator.instant(), self._generator.start
        if self._random.random() < 0.5:
            return max(start, now - int(self._random.random() * _RECENT_MICROSECONDS))
        return self._random.randint(start - self._reach, now)

    async def _compare(self, spaces: Sequence[int], until: int, settle: float, score: Score) -> None:
        asked = self._generator.now()
        certain = [self._truth.certain(space, until, asked - settle) for space in spaces]
        counts = await self._counts.at(spaces, until)
        if counts is None:
            return
        for space, low, count in zip(spaces, certain, counts, strict=True):
            self._judge(count, space, until, low, score)

    def _judge(self, count: Count, space: int, until: int, certain: Flow, score: Score) -> None:
        base, base_net = self._baseline.flows[space], self._baseline.nets[space]
        low, high = base + certain, base + self._truth.possible(space, until)
        net = base_net + count.entries - base.entries - count.exits + base.exits
        right = (
            low.entries <= count.entries <= high.entries
            and low.exits <= count.exits <= high.exits
            and count.net == net
        )
        score.compared += 1
        score.exactly += low == high
        score.wrong += not right
        if not right and len(self.examples) < _MOST_EXAMPLES:
            self.examples.append(
                {
                    "space_id": count.space_id,
                    "at": _rfc3339(until),
                    "asked_after_seconds": round(self._generator.now(), 3),
                    "entries": count.entries,
                    "entries_must_be": [low.entries, high.entries],
                    "exits": count.exits,
                    "exits_must_be": [low.exits, high.exits],
                    "net": count.net,
                    "net_must_be": net,
                }
            )


def _reason(answer: Answer) -> str:
    if answer.status == 0:
        return answer.lost
    try:
        detail = msgspec.json.decode(answer.body).get("detail", "")
    except (msgspec.MsgspecError, AttributeError):
        detail = ""
    return f"{answer.status} {detail}".strip()


def _rfc3339(microseconds: int) -> str:
    instant = _EPOCH + microseconds * _MICROSECOND
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")
