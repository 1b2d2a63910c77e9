"""From what a DPU or its gateway sent to heartbeats that can be kept, or reasons why not, one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from occupancy.errors import InvalidInput
from occupancy.parse import Clock, Rejected, parse_timestamp, shown
from occupancy.parse.judge import LARGEST_SEQ, LONGEST_ID
from occupancy.topology.values import LARGEST_INTEGER

# The hours of a month; the SQL function reports_of_dpu counts on it.
LONGEST_REPORT = timedelta(hours=744)
MOST_REPORTS = 744

# A clock may be wrong, but what no clock shows is a mistake; the first and last instants of Python stand for infinity.
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Heartbeats:
    """Columns of one length. `indexes`: the place of each in what was sent, from 0; times are aware.

    `sent_ats`: the device's own time, or when it came in where that clock is certainly wrong. Which one is the latest
    follows from both: see the SQL function keep_heartbeats.
    """

    indexes: list[int] = field(default_factory=list)
    dpu_ids: list[str] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)
    received_ats: list[datetime] = field(default_factory=list)
    sent_ats: list[datetime] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.dpu_ids)


@dataclass(slots=True)
class SentReports:
    """Columns of one length: the DPU says that in [from, to) it sent so many events; times are aware."""

    dpu_ids: list[str] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    from_times: list[datetime] = field(default_factory=list)
    to_times: list[datetime] = field(default_factory=list)
    stated_ats: list[datetime] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.dpu_ids)


@dataclass(slots=True)
class ParsedHeartbeats:
    """The heartbeats of one request, what they say was sent, and what of them is rejected."""

    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    reports: SentReports = field(default_factory=SentReports)
    rejected: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Report:
    events: int
    start: datetime
    end: datetime


class _Unusable(Exception):
    def __init__(self, code: str, name: str, value: Any, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.field = name
        self.value = value
        self.detail = f"{name} {shown(value)}: {reason}"


def parse_heartbeats(
    documents: Iterable[Any], clock: Clock, report_age: timedelta, dpu_id: str | None = None
) -> ParsedHeartbeats:
    """Judge each document, a JSON value, by itself, and each of its statements in `sent`. Order and index are kept.

    `clock.now` is when they came in. A statement about what ended more than `report_age` before is rejected. With
    `dpu_id`, they are all of that DPU, and need not say so.
    """
    parsed = ParsedHeartbeats()
    for index, document in enumerate(documents):
        try:
            _add(parsed, index, document, clock, report_age, dpu_id)
        except _Unusable as why:
            parsed.rejected.append(Rejected(index, why.code, why.detail, None))
    return parsed


def parse_heartbeat(document: Any, clock: Clock, report_age: timedelta, dpu_id: str) -> ParsedHeartbeats:
    """The one heartbeat of a DPU, with its statements, each judged by itself.

    Raises InvalidInput where the heartbeat itself cannot be kept.
    """
    parsed = ParsedHeartbeats()
    try:
        _add(parsed, 0, document, clock, report_age, dpu_id)
    except _Unusable as why:
        raise InvalidInput(why.detail, field=why.field, value=shown(why.value)) from why
    return parsed


def _add(
    parsed: ParsedHeartbeats,
    index: int,
    document: Any,
    clock: Clock,
    report_age: timedelta,
    dpu_id: str | None,
) -> None:
    if not isinstance(document, Mapping):
        raise _Unusable("invalid_heartbeat", "heartbeat", document, "not an object")
    owner = _dpu_id(document, dpu_id)
    time = _timestamp("timestamp", document.get("timestamp"))
    seq = 0 if document.get("seq") is None else _number("seq", document["seq"], LARGEST_SEQ, "invalid_seq")
    said = document.get("sent")
    if said is not None and not isinstance(said, list):
        raise _Unusable("invalid_sent", "sent", said, "not an array")
    # What is certainly wrong orders nothing: a clock that shows 1970 or 2040.
    sent_at = time if clock.earliest <= time <= clock.latest else clock.now
    beats = parsed.heartbeats
    beats.indexes.append(index)
    beats.dpu_ids.append(owner)
    beats.seqs.append(seq)
    beats.times.append(time)
    beats.received_ats.append(clock.now)
    beats.sent_ats.append(sent_at)
    for place, statement in enumerate(said or []):
        try:
            report = _report(f"sent.{place}", place, statement, time, clock, report_age)
        except _Unusable as why:
            parsed.rejected.append(Rejected(index, why.code, why.detail, None))
        else:
            # Nothing was said after it came in: a clock that is ahead would outlast its own corrections.
            _append(parsed.reports, owner, report, min(sent_at, clock.now))


def _append(reports: SentReports, dpu_id: str, report: _Report, stated_at: datetime) -> None:
    reports.dpu_ids.append(dpu_id)
    reports.events.append(report.events)
    reports.from_times.append(report.start)
    reports.to_times.append(report.end)
    reports.stated_ats.append(stated_at)


def _report(
    name: str, place: int, statement: Any, time: datetime, clock: Clock, report_age: timedelta
) -> _Report:
    if place >= MOST_REPORTS:
        raise _Unusable("invalid_sent", name, place, f"more than {MOST_REPORTS} statements in one heartbeat")
    if not isinstance(statement, Mapping):
        raise _Unusable("invalid_sent", name, statement, "not an object")
    start = _timestamp(f"{name}.from", statement.get("from"))
    end = _timestamp(f"{name}.to", statement.get("to"))
    events = _number(f"{name}.events", statement.get("events"), LARGEST_INTEGER, "invalid_sent")
    if start >= end:
        raise _Unusable("invalid_sent", f"{name}.to", statement["to"], "not after from")
    if end - start > LONGEST_REPORT:
        hours = LONGEST_REPORT // timedelta(hours=1)
        raise _Unusable("invalid_sent", f"{name}.to", statement["to"], f"more than {hours} hours after from")
    if end > min(time, clock.latest):
        raise _Unusable(
            "future_time", f"{name}.to", statement["to"], "after the heartbeat: not known before the end"
        )
    if end < max(clock.now - report_age, clock.earliest):
        raise _Unusable("past_time", f"{name}.to", statement["to"], f"more than {report_age} ago")
    return _Report(events, start, end)


def _dpu_id(document: Mapping[str, Any], owner: str | None) -> str:
    given = document.get("dpu_id", owner)
    if given is None:
        raise _Unusable("missing_field", "dpu_id", None, "missing")
    if not isinstance(given, str) or not 0 < len(given) <= LONGEST_ID or not given.isprintable():
        reason = f"not a text of 1 to {LONGEST_ID} printable characters"
        raise _Unusable("invalid_dpu_id", "dpu_id", given, reason)
    if owner is not None and given != owner:
        raise _Unusable("invalid_dpu_id", "dpu_id", given, f"not the DPU of the path, {shown(owner)}")
    return given


def _timestamp(name: str, value: Any) -> datetime:
    if value is None:
        raise _Unusable("missing_field", name, None, "missing")
    try:
        time = parse_timestamp(value)
    except (TypeError, ValueError) as error:
        raise _Unusable("invalid_timestamp", name, value, str(error)) from error
    if not _EARLIEST <= time < _LATEST:
        raise _Unusable("invalid_timestamp", name, value, "not between the years 1900 and 2200")
    return time


def _number(name: str, value: Any, largest: int, code: str) -> int:
    if value is None:
        raise _Unusable("missing_field", name, None, "missing")
    if type(value) is not int or not 0 <= value <= largest:
        raise _Unusable(code, name, value, f"not a whole number from 0 to {largest}")
    return value
