"""How the placements of one DPU become others, changing no more of its history than differs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from occupancy.topology.values import for_ever, since_ever


@dataclass(frozen=True)
class Hung:
    """A DPU hung over a doorway from `start` (None: since ever) to before `end` (None: open)."""

    doorway_id: str
    facing: str
    start: datetime | None
    end: datetime | None

    def shared_with(self, other: Hung) -> tuple[datetime, datetime]:
        """The time that both hold in; it is empty where the first instant is not before the second."""
        return (
            max(since_ever(self.start), since_ever(other.start)),
            min(for_ever(self.end), for_ever(other.end)),
        )

    def overlaps(self, other: Hung) -> bool:
        """Whether both hold at some instant."""
        start, end = self.shared_with(other)
        return start < end

    def within(self, other: Hung) -> Hung:
        """This placement in the time that it shares with another."""
        start, end = self.shared_with(other)
        return replace(
            self,
            start=None if start == since_ever(None) else start,
            end=None if end == for_ever(None) else end,
        )


@dataclass
class Steps:
    """What to do, in this order; a pair is a placement before and after. No step makes two overlap."""

    removed: list[Hung] = field(default_factory=list)
    shrunk: list[tuple[Hung, Hung]] = field(default_factory=list)
    rehung: list[tuple[Hung, Hung]] = field(default_factory=list)
    added: list[Hung] = field(default_factory=list)


def paired(stored: Iterable[Hung], wanted: Iterable[Hung]) -> Iterator[tuple[Hung | None, Hung | None]]:
    """Each stored placement with the one that it becomes; None for one that is removed or added.

    Equal ones are left out. One that stays over its doorway is preferred, since less of its history changes.
    """
    before_all, after_all = list(stored), list(wanted)
    old = [placement for placement in before_all if placement not in after_all]
    new = [placement for placement in after_all if placement not in before_all]
    for alike in (_stays, Hung.overlaps):
        for before in list(old):
            after = next((candidate for candidate in new if alike(before, candidate)), None)
            if after is not None:
                old.remove(before)
                new.remove(after)
                yield before, after
    yield from ((before, None) for before in old)
    yield from ((None, after) for after in new)


def steps(pairs: Iterable[tuple[Hung | None, Hung | None]]) -> Steps:
    """How to get from the first of each pair to the second.

    First every placement shrinks to what it keeps: then each lies within its final time, where no other will
    be, and they can be changed in any order.
    """
    result = Steps()
    for before, after in pairs:
        if after is None:
            result.removed += [before] if before else []
        elif before is None:
            result.added.append(after)
        else:
            kept = before.within(after)
            result.shrunk += [(before, kept)] if kept != before else []
            result.rehung += [(kept, after)] if kept != after else []
    return result


def _stays(before: Hung, after: Hung) -> bool:
    return (before.doorway_id, before.facing) == (after.doorway_id, after.facing) and before.overlaps(after)
