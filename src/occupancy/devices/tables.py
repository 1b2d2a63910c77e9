"""What is known of DPUs, as tables for a terminal. Times are in UTC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.markup import escape
from rich.table import Table

from occupancy.devices.status import DpuState, DpuStatus, SeqBreak, SeqSummary

_MOST_SHOWN = 10


def fleet_table(states: Sequence[DpuState]) -> Table:
    """A row for each DPU."""
    table = Table("dpu_id", "last event", "last heartbeat", "clock skew", title=f"{len(states)} DPUs")
    for state in states:
        table.add_row(escape(state.dpu_id), _last_event(state), _last_heartbeat(state), _skew(state))
    return table


def dpu_table(status: DpuStatus) -> Table:
    """A line for each thing that is known of one DPU."""
    table = Table.grid(padding=(0, 2))
    for name, value in _lines(status):
        table.add_row(name, value)
    return table


def _lines(status: DpuStatus) -> Iterator[tuple[str, str]]:
    state = status.state
    yield "dpu_id", escape(state.dpu_id)
    event = state.last_event
    yield "last event", _last_event(state) + ("" if event is None else f", {event.direction:+d}")
    yield "last heartbeat", _last_heartbeat(state)
    yield "clock skew", _skew(state)
    yield "numbers since", _time(status.since)
    if status.seq is None:
        yield "seq", "the DPU sends none"
    else:
        yield from _numbers(status.seq)
    for code, events in status.rejected.items():
        yield "rejected", f"{code}: {events}"


def _numbers(seq: SeqSummary) -> Iterator[tuple[str, str]]:
    yield "seq", "-" if seq.lowest is None else f"{seq.lowest} to {seq.highest}, {seq.stored} stored"
    yield "missing", f"{seq.missing} in {seq.gap_count} gaps and {seq.restart_count} restarts"
    yield "pending", "unknown" if seq.pending is None else f"{seq.pending} behind the last stored one"
    if seq.out_of_order:
        yield "out of order", str(seq.out_of_order)
    for gap in seq.gaps[:_MOST_SHOWN]:
        yield "gap", _break(gap)
    for restart in seq.restarts[:_MOST_SHOWN]:
        yield "restart", _break(restart)


def _break(one: SeqBreak) -> str:
    return (
        f"{one.missing} missing, from seq {one.after_seq} at {_time(one.after_time)} "
        f"to seq {one.before_seq} at {_time(one.before_time)}"
    )


def _last_event(state: DpuState) -> str:
    return "-" if state.last_event is None else _time(state.last_event.timestamp)


def _last_heartbeat(state: DpuState) -> str:
    return "-" if state.last_heartbeat is None else _time(state.last_heartbeat.received_at)


def _skew(state: DpuState) -> str:
    return "-" if state.clock_skew_seconds is None else f"{state.clock_skew_seconds:+.3f} s"


def _time(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
