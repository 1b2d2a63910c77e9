"""What the service must answer, by the plainest means: a walk through every event, for every question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

EVER = datetime.min.replace(tzinfo=UTC)


@dataclass
class Space:
    parent: int | None
    reset_at: time | None = None
    time_zone: str = "UTC"


@dataclass
class Placement:
    dpu: int
    doorway: int
    facing: str
    start: datetime | None
    end: datetime | None

    def holds(self, at: datetime) -> bool:
        return (self.start is None or self.start <= at) and (self.end is None or at < self.end)

    def overlaps(self, other: Placement) -> bool:
        return _before(self.start, other.end) and _before(other.start, self.end)


def _before(start: datetime | None, end: datetime | None) -> bool:
    return start is None or end is None or start < end


@dataclass(frozen=True)
class Answer:
    net: int
    entries: int
    exits: int
    since: datetime | None
    last_crossing: datetime | None


@dataclass
class Model:
    spaces: dict[int, Space] = field(default_factory=dict)
    doorways: dict[int, tuple[int | None, int | None]] = field(default_factory=dict)
    dpus: list[int] = field(default_factory=list)
    placements: dict[int, Placement] = field(default_factory=dict)
    crossings: dict[tuple[int, datetime, int], int] = field(default_factory=dict)
    resets: dict[tuple[int, datetime], int] = field(default_factory=dict)
    # Of crossings that were dropped: what each did to each space, as things were declared then.
    dropped_before: datetime = EVER
    remembered: dict[tuple[int, datetime, int], int] = field(default_factory=dict)

    def lineage(self, space: int | None) -> Iterator[int]:
        """A space and all spaces around it; none for outside."""
        while space is not None:
            yield space
            space = self.spaces[space].parent

    def count(self, space: int, at: datetime) -> Answer:
        since, net = self.latest_reset(space, at)
        entries = exits = 0
        last = None
        for (dpu, when, _), direction in self.crossings.items():
            if when > at or (since is not None and when <= since):
                continue
            effect = direction * self.effect(dpu, space, when)
            entries += effect == 1
            exits += effect == -1
            if effect:
                last = when if last is None else max(last, when)
        return Answer(net + entries - exits, entries, exits, since, last)

    def effect(self, dpu: int, space: int, when: datetime) -> int:
        """What a +1 of the DPU does to the space at that instant: 1, -1 or nothing."""
        if when < self.dropped_before:
            return self.remembered.get((dpu, when, space), 0)
        for placement in self.placements.values():
            if placement.dpu == dpu and placement.holds(when):
                side_a, side_b = self.doorways[placement.doorway]
                into, out_of = (side_a, side_b) if placement.facing == "a" else (side_b, side_a)
                return (space in self.lineage(into)) - (space in self.lineage(out_of))
        return 0

    def drop(self, boundary: datetime) -> None:
        """From now on no correction changes what happened before the boundary."""
        for dpu, when, _ in self.crossings:
            if self.dropped_before <= when < boundary:
                for space in self.spaces:
                    self.remembered[dpu, when, space] = self.effect(dpu, space, when)
        self.dropped_before = boundary

    def latest_reset(self, space: int, at: datetime) -> tuple[datetime | None, int]:
        stated = max((when for (of, when) in self.resets if of == space and when <= at), default=None)
        daily = self._latest_daily(self.spaces[space], at)
        if daily is not None and (stated is None or daily > stated):
            return daily, 0
        return stated, 0 if stated is None else self.resets[space, stated]

    @staticmethod
    def _latest_daily(space: Space, at: datetime) -> datetime | None:
        if space.reset_at is None:
            return None
        zone = ZoneInfo(space.time_zone)
        today = at.astimezone(zone).date()
        return max(
            when
            for days in (-2, -1, 0, 1)
            if (when := _instant(datetime.combine(today + timedelta(days), space.reset_at), zone)) <= at
        )


def _instant(local: datetime, zone: ZoneInfo) -> datetime:
    """A local time that occurs twice means the second; one that is skipped, as much later as clocks jumped."""
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return max(first, second)
