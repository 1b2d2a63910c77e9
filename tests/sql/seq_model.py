"""Numbers of events and reconciliation by plain loops over lists, in no hurry: what the SQL has to agree with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

HOUR = timedelta(hours=1)
# A number that is lower by less is out of order, as when a clock was set back.
FALL = 100


@dataclass(frozen=True)
class Event:
    """A stored event; seq 0: none."""

    at: datetime
    seq: int
    direction: int = 1


@dataclass(frozen=True)
class Report:
    """A DPU says that in [start, end) it sent so many events."""

    start: datetime
    end: datetime
    events: int


@dataclass(frozen=True, order=True)
class Break:
    """Numbers that do not follow on one another."""

    kind: str
    after_seq: int
    before_seq: int
    missing: int
    after_time: datetime
    before_time: datetime


Beat = tuple[datetime, int]


@dataclass(frozen=True)
class _Seen:
    at: datetime
    seq: int
    is_beat: bool = False


def observed(events: Sequence[Event], beat: Beat | None, start: datetime, end: datetime) -> list[_Seen]:
    """The numbered events of [start, end), the event before and the one after; without that, the heartbeat."""
    ordered = sorted(events, key=lambda event: (event.at, event.seq))
    before = [event for event in ordered if event.at < start][-1:]
    within = [event for event in ordered if start <= event.at < end]
    after = [event for event in ordered if event.at >= end][:1]
    seen = [_Seen(event.at, event.seq) for event in before + within + after if event.seq > 0]
    if beat is not None and beat[1] > 0 and not after:
        times = [event.at for event in before + within]
        if not times or beat[0] >= max(times):
            seen.append(_Seen(beat[0], beat[1] + 1, is_beat=True))
    return sorted(seen, key=lambda one: (one.at, one.is_beat, one.seq))


def breaks(seen: Sequence[_Seen]) -> list[Break]:
    """Gaps, restarts and what a heartbeat says is still to come."""
    found: list[Break] = []
    runs: list[list[_Seen]] = []
    for place, one in enumerate(seen):
        last = seen[place - 1] if place else None
        if last is None or (one.seq <= last.seq and (one.seq == 1 or last.seq - one.seq >= FALL)):
            runs.append([one])
        else:
            runs[-1].append(one)
    for number, run in enumerate(runs):
        if number:
            lowest = min(one.seq for one in run)
            last = runs[number - 1][-1]
            kind = "pending" if run[0].is_beat else "restart"
            found.append(Break(kind, last.seq, lowest, lowest - 1, last.at, run[0].at))
        numbers = [one for one in run if not one.is_beat]
        highest = max((one.seq for one in numbers), default=0)
        numbers += [one for one in run if one.is_beat and one.seq > highest]
        by_seq = sorted(numbers, key=lambda one: (one.seq, one.at))
        for place, one in enumerate(run):
            if any(one.seq <= other.seq for other in run[:place]):
                found.append(_disorder(seen, by_seq, run[place - 1], one))
        for low, high in pairwise(by_seq):
            missing = high.seq - low.seq - 1
            if missing > 0 or high.is_beat:
                kind = "pending" if high.is_beat else "gap"
                found.append(Break(kind, low.seq, high.seq, missing, low.at, high.at))
    return sorted(found)


def _disorder(seen: Sequence[_Seen], by_seq: Sequence[_Seen], last: _Seen, one: _Seen) -> Break:
    since, until = last.at, one.at
    if not one.is_beat:
        following = seen[seen.index(one) + 1 :]
        until = following[0].at if following else one.at
        place = by_seq.index(one)
        since = min(last.at, by_seq[place - 1].at) if place else last.at
    return Break("disorder", last.seq, one.seq, 0, since, until)


@dataclass(frozen=True)
class Tally:
    """One row of a reconciliation."""

    stored: int
    towards: int
    away: int
    reported: int | None
    seq_lowest: int | None
    seq_highest: int | None
    seq_missing: int | None
    seq_missing_before: int | None
    restarts: int
    missing: int | None
    pending: int | None
    matches: bool | None


def reported(reports: Sequence[Report], hour: datetime) -> tuple[int | None, list[Report]]:
    """What the DPU says of an hour, and by which statements."""
    whole = [one for one in reports if (one.start, one.end) == (hour, hour + HOUR)]
    if whole:
        return whole[0].events, whole
    parts = sorted(
        (one for one in reports if one.start >= hour and one.end <= hour + HOUR),
        key=lambda one: (one.start, one.end),
    )
    reached = hour
    for part in parts:
        if part.start != reached:
            return None, []
        reached = part.end
    return (sum(part.events for part in parts), parts) if reached == hour + HOUR else (None, [])


def reconciled(
    events: Sequence[Event], reports: Sequence[Report], beat: Beat | None, start: datetime, end: datetime
) -> tuple[list[Tally], Tally, list[Report]]:
    """The hours of [start, end), the whole of it, and the reports that fit no hour."""
    seen = observed(events, beat, start, end)
    broken = breaks(seen)
    hours = [start + step * HOUR for step in range((end - start) // HOUR)]
    words = [reported(reports, hour) for hour in hours]
    rows = [
        _tally(events, seen, broken, hour, hour + HOUR, number)
        for hour, (number, _) in zip(hours, words, strict=True)
    ]
    numbers = [number for number, _ in words if number is not None]
    total = _tally(events, seen, broken, start, end, sum(numbers) if len(numbers) == len(hours) else None)
    if any(row.matches is False for row in rows):
        total = replace(total, matches=False)
    used = {id(report) for _, found in words for report in found}
    others = [one for one in reports if id(one) not in used and one.start < end and one.end > start]
    return rows, total, others


def may_still_come(
    report: Report, stored: int, events: Sequence[Event], beat: Beat | None, start: datetime, end: datetime
) -> bool:
    """Whether all that is missing of a report may be behind the last event of [start, end)."""
    waiting = [one for one in breaks(observed(events, beat, start, end)) if one.kind == "pending"]
    return report.events > stored and any(
        one.after_time < report.end
        and one.before_time > report.start
        and one.missing >= report.events - stored
        for one in waiting
    )


def _pending(broken: Sequence[Break], start: datetime, end: datetime, most: int) -> int | None:
    waiting = [
        one.missing
        for one in broken
        if one.kind == "pending" and one.after_time < end and one.before_time > start
    ]
    return min(sum(waiting), most) if waiting else None


def _tally(
    events: Sequence[Event],
    seen: Sequence[_Seen],
    broken: Sequence[Break],
    start: datetime,
    end: datetime,
    said: int | None,
) -> Tally:
    inside = [event for event in events if start <= event.at < end]
    numbers = [event.seq for event in inside if event.seq > 0]
    known = bool(seen) and seen[0].at <= start and seen[-1].at >= end and len(numbers) == len(inside)
    within = across = restarts = 0
    doubt = False
    for one in broken:
        first, last = sorted((one.after_time, one.before_time))
        if start <= first and last < end and one.kind != "pending":
            within += one.missing
        if first < start <= last < end and one.kind != "pending":
            across += one.missing
        if one.kind == "restart" and start <= last < end:
            restarts += 1
        if one.kind == "pending" and one.missing == 0:
            continue
        if first < end and last > start and (one.kind != "gap" or first < start or last >= end):
            doubt = True
    missing: int | None = None
    pending: int | None = None
    matches: bool | None = None
    if said is not None:
        missing = max(said - len(inside), 0)
        pending = _pending(broken, start, end, max(missing - within, 0))
        matches = None if missing and pending == missing else said == len(inside)
    else:
        if known and not doubt:
            missing, matches = within, True
        if within > 0:
            matches = False
    is_told = bool(numbers) or known
    return Tally(
        stored=len(inside),
        towards=sum(event.direction == 1 for event in inside),
        away=sum(event.direction == -1 for event in inside),
        reported=said,
        seq_lowest=min(numbers, default=None),
        seq_highest=max(numbers, default=None),
        seq_missing=within if is_told else None,
        seq_missing_before=across if is_told else None,
        restarts=restarts,
        missing=missing,
        pending=pending,
        matches=matches,
    )
