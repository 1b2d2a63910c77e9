"""What a series must hold, by the plainest means: every instant at which something happens is looked at by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from tests.sql.model import Model

MICROSECOND = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
_MONDAY = date(2000, 1, 3)


@dataclass(frozen=True)
class Width:
    """How long a bucket is: months, or days, or a part of a day."""

    months: int = 0
    days: int = 0
    part: timedelta = timedelta(0)

    def __str__(self) -> str:
        if self.months:
            return f"{self.months} months"
        return f"{self.days} days" if self.days else f"{int(self.part.total_seconds())} seconds"

    def begins_on(self, day: date) -> bool:
        """Whether a bucket of months or days begins on that date."""
        if self.months:
            return day.day == 1 and ((day.year - 2000) * 12 + day.month - 1) % self.months == 0
        return (day - _MONDAY).days % self.days == 0


@dataclass(frozen=True)
class Hours:
    """Open on these weekdays (0 is Monday) from a time to another, on the next day if that is not later."""

    weekdays: tuple[int, ...]
    opens: time
    closes: time | None  # None: the end of the day

    def __str__(self) -> str:
        names = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
        days = ",".join(names[day] for day in self.weekdays)
        closes = "24:00" if self.closes is None else f"{self.closes:%H:%M}"
        return f"{days} {self.opens:%H:%M}-{closes}"


@dataclass(frozen=True)
class Bucket:
    start: datetime
    end: datetime
    seconds: float
    first: int
    last: int
    min: int
    max: int
    mean: float
    entries: int
    exits: int


def first_instant(day: date, zone: ZoneInfo) -> datetime:
    """The first minute that local clocks show on that date, or, where they skip it, on a later one."""
    at = datetime.combine(day, time(), UTC) - timedelta(hours=30)
    # An instant two hours before and an hour after each candidate are enough: walk, and stop at the first that fits.
    while at.astimezone(zone).date() < day:
        at += timedelta(minutes=15)
    return at


def local_instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """When clocks show that time on that date: the second time if twice, as much later as they jump if never."""
    if at == time():
        return first_instant(day, zone)
    local = datetime.combine(day, at)
    return max(local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))


def cuts(start: datetime, end: datetime, width: Width, zone: ZoneInfo) -> list[datetime]:
    """Where the buckets begin that overlap [start, end), and where the last one ends."""
    if width.part:
        found = list(_clock_cuts(start - timedelta(days=3), end + timedelta(days=3), width.part, zone))
    else:
        reach = timedelta(days=2 * (width.days + 31 * width.months) + 2)
        days = (
            (start - reach).date() + timedelta(number) for number in range((end - start + 2 * reach).days + 2)
        )
        found = sorted({first_instant(day, zone) for day in days if width.begins_on(day)})
    first = max(cut for cut in found if cut <= start)
    last = min(cut for cut in found if cut >= end)
    return [cut for cut in found if first <= cut <= last]


def _clock_cuts(start: datetime, end: datetime, part: timedelta, zone: ZoneInfo) -> Iterator[datetime]:
    """Every minute at which clocks show a multiple of `part`, or a new date; see the documentation of `interval`."""
    at = start.replace(second=0, microsecond=0)
    shown: set[datetime] = set()
    day = at.astimezone(zone).date()
    while at < end:
        local = at.astimezone(zone).replace(tzinfo=None)
        since_midnight = local - datetime.combine(local.date(), time())
        multiple = since_midnight % part == timedelta(0)
        # longer than an hour: the second time clocks show it, the bucket goes on
        if (multiple and (part <= timedelta(hours=1) or local not in shown)) or local.date() > day:
            yield at
        shown.add(local)
        day = max(day, local.date())
        at += MINUTE


def open_spans(
    start: datetime, end: datetime, hours: Sequence[Hours], zone: ZoneInfo
) -> list[tuple[datetime, datetime]]:
    """When it is open in [start, end), in order and without overlaps; always, without hours."""
    if not hours:
        return [(start, end)]
    spans = []
    day = start.astimezone(zone).date() - timedelta(days=2)
    while day <= end.astimezone(zone).date() + timedelta(days=1):
        next_day = day + timedelta(days=1)
        if first_instant(day, zone) < first_instant(next_day, zone):
            for rule in hours:
                if day.weekday() in rule.weekdays:
                    opens = local_instant(day, rule.opens, zone)
                    if rule.closes is None:
                        closes = first_instant(next_day, zone)
                    else:
                        closing_day = next_day if rule.closes <= rule.opens else day
                        closes = local_instant(closing_day, rule.closes, zone)
                    spans.append((max(opens, start), min(closes, end)))
        day = next_day
    merged: list[tuple[datetime, datetime]] = []
    for opens, closes in sorted(span for span in spans if span[0] < span[1]):
        if merged and opens <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], closes))
        else:
            merged.append((opens, closes))
    return merged


def series(
    model: Model,
    space: int,
    boundaries: Sequence[datetime],
    hours: Sequence[Hours],
    zone: ZoneInfo,
    now: datetime,
) -> list[Bucket]:
    """The buckets between successive boundaries, up to now; those in which it is never open are left out."""
    start, end = boundaries[0], min(boundaries[-1], now)
    open_at = open_spans(start, end, hours, zone)
    # The net changes at these instants only.
    course = [
        (at, model.count(space, at).net)
        for at in sorted({start} | {at for at in _changes(model, space, start, end) if start <= at < end})
    ]
    crossings = [
        (when, direction * model.effect(dpu, space, when))
        for (dpu, when, _), direction in model.crossings.items()
        if start <= when < end
    ]
    buckets = []
    for opens, closes in pairwise(boundaries):
        spans = [(max(span[0], opens), min(span[1], closes)) for span in open_at]
        spans = [span for span in spans if span[0] < span[1]]
        if spans:
            buckets.append(_bucket((opens, closes), spans, course, crossings))
    return buckets


def _bucket(
    bounds: tuple[datetime, datetime],
    spans: list[tuple[datetime, datetime]],
    course: list[tuple[datetime, int]],
    crossings: list[tuple[datetime, int]],
) -> Bucket:
    values: list[tuple[int, timedelta]] = []
    for opens, closes in spans:
        before = [(opens, net) for at, net in course if at <= opens][-1:]
        inside = before + [(at, net) for at, net in course if opens < at < closes]
        ends = [at for at, _ in inside[1:]] + [closes]
        values += [(net, end - at) for (at, net), end in zip(inside, ends, strict=True)]
    effects = [effect for when, effect in crossings if any(opens <= when < closes for opens, closes in spans)]
    looked_at = sum((span for _, span in values), timedelta(0))
    nets = [net for net, _ in values]
    mean = sum((net * span for net, span in values), timedelta(0)) / looked_at
    return Bucket(
        *bounds,
        looked_at.total_seconds(),
        nets[0],
        nets[-1],
        min(nets),
        max(nets),
        mean,
        effects.count(1),
        effects.count(-1),
    )


def _changes(model: Model, space: int, start: datetime, end: datetime) -> Iterator[datetime]:
    """Every instant at which the net of the space may change."""
    yield from (when for _, when, _ in model.crossings)
    yield from (when for of, when in model.resets if of == space)
    rule = model.spaces[space]
    if rule.reset_at is not None:
        zone = ZoneInfo(rule.time_zone)
        day = start.date() - timedelta(days=3)
        while day <= end.date() + timedelta(days=3):
            local = datetime.combine(day, rule.reset_at)
            yield max(local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
            day += timedelta(days=1)
