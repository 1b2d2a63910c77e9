"""Events as columns: what the database takes, without an object per event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from occupancy.parse.judge import Rejected


@dataclass(slots=True)
class Events:
    """Columns of one length. `indexes`: the place of each event in what was sent, from 0; times are aware."""

    indexes: list[int] = field(default_factory=list)
    dpu_ids: list[str] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)
    directions: list[int] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.dpu_ids)


@dataclass(slots=True)
class Parsed:
    """The events of one request: those to store, and those to keep aside."""

    events: Events = field(default_factory=Events)
    rejected: list[Rejected] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.events) + len(self.rejected)


def joined(parts: Sequence[Events]) -> Events:
    """The events of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    whole = Events()
    for part in parts:
        whole.indexes += part.indexes
        whole.dpu_ids += part.dpu_ids
        whole.times += part.times
        whole.directions += part.directions
        whole.seqs += part.seqs
    return whole


def halves(events: Events) -> tuple[Events, Events]:
    """The first half of the events, and the others."""
    middle = len(events) // 2
    return (
        Events(
            events.indexes[:middle],
            events.dpu_ids[:middle],
            events.times[:middle],
            events.directions[:middle],
            events.seqs[:middle],
        ),
        Events(
            events.indexes[middle:],
            events.dpu_ids[middle:],
            events.times[middle:],
            events.directions[middle:],
            events.seqs[middle:],
        ),
    )
