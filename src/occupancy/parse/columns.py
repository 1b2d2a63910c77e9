"""Events as columns: what the database takes, without an object per event."""

from __future__ import annotations

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
