"""What is known of DPUs: when they were last heard of, and what of their events is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from occupancy.database import Database
from occupancy.errors import NotFound

# Of gaps and restarts, one by one.
MOST_BREAKS = 100
# A page of DPUs that are silent looks at so many; where few are, it is short.
_LOOKED_AT = 10_000


@dataclass(frozen=True, slots=True)
class LastEvent:
    """The last event of a DPU by its own clock (times are aware, UTC); `seq` is 0 if it sent none."""

    timestamp: datetime
    direction: int
    seq: int
    received_at: datetime


@dataclass(frozen=True, slots=True)
class LastHeartbeat:
    """The latest heartbeat of a DPU: its own clock, and the service's when it came in (aware, UTC)."""

    timestamp: datetime
    received_at: datetime
    seq: int


@dataclass(frozen=True, slots=True)
class DpuState:
    """When a DPU was last heard of. `clock_skew_seconds`: how far its clock was ahead, at the heartbeat."""

    dpu_id: str
    last_event: LastEvent | None
    last_heartbeat: LastHeartbeat | None
    heard_at: datetime | None
    clock_skew_seconds: float | None


@dataclass(frozen=True, slots=True)
class SeqBreak:
    """Where numbers do not follow on one another: those between two events, or below the first after a restart."""

    after_seq: int
    before_seq: int
    missing: int
    after_time: datetime
    before_time: datetime


@dataclass(frozen=True, slots=True)
class SeqBreaks:
    """The latest ones, the latest first."""

    gaps: list[SeqBreak]
    restarts: list[SeqBreak]


@dataclass(frozen=True, slots=True)
class SeqSummary:
    """The numbers of the events in a window; `gaps` and `restarts` are the latest ones of so many.

    `pending`: so many numbers behind the last stored one has the device given, by its heartbeat; None: it does not say.
    """

    stored: int
    unnumbered: int
    lowest: int | None
    highest: int | None
    missing: int
    pending: int | None
    gap_count: int
    restart_count: int
    out_of_order: int
    gaps: list[SeqBreak]
    restarts: list[SeqBreak]


@dataclass(frozen=True, slots=True)
class DpuStatus:
    """All that is known of a DPU, in the window [since, until). `seq` is None where no event there has a number."""

    state: DpuState
    since: datetime
    until: datetime
    seq: SeqSummary | None
    rejected: dict[str, int]


@dataclass(frozen=True, slots=True)
class StatePage:
    """Some DPUs in the order of their ids, and the id behind which the next page begins; None: it was the last."""

    items: list[DpuState]
    next: str | None


async def dpu_status(
    database: Database, organization: int, dpu_id: str, since: datetime, until: datetime
) -> DpuStatus:
    """What is known of one DPU, with its numbers in [since, until), aware instants, from one snapshot.

    Raises NotFound if there is no such DPU.
    """
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        number = await number_of(connection, organization, dpu_id)
        (state,) = await _states(connection, [(number, dpu_id)], until)
        summary = await _seq_summary(connection, number, since, until)
        rejected = await connection.fetch(
            "SELECT code, count(*) AS events FROM occupancy.rejected_of_dpu($1, $2, $3) GROUP BY code ORDER BY code",
            organization,
            dpu_id,
            since,
        )
    return DpuStatus(state, since, until, summary, {row["code"]: row["events"] for row in rejected})


async def dpu_states(
    database: Database,
    organization: int,
    after: str | None,
    most: int,
    silent_for: timedelta | None,
    max_skew: timedelta,
) -> StatePage:
    """At most `most` DPUs behind the id `after`; with `silent_for`, only those not heard of for so long.

    Silent is who sent no heartbeat, and has no event since then by its own clock, which may be ahead by `max_skew`. A
    page may hold fewer, even none, though there is another.
    """
    now = datetime.now(UTC)
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        until = None
        if silent_for is not None:
            until = await connection.fetchval(
                """
                SELECT dpu_id FROM occupancy.dpu WHERE organization = $1 AND ($2::text IS NULL OR dpu_id > $2)
                ORDER BY dpu_id OFFSET $3 LIMIT 1
                """,
                organization,
                after,
                _LOOKED_AT - 1,
            )
        found = await connection.fetch(
            "SELECT dpu, dpu_id FROM occupancy.dpus_behind($1, $2, $3, $4, $5) ORDER BY dpu_id",
            organization,
            after,
            until,
            None if silent_for is None else now - silent_for,
            most + 1,
        )
        shown = [(row["dpu"], row["dpu_id"]) for row in found[:most]]
        items = await _states(connection, shown, now + max_skew)
    return StatePage(items, shown[-1][1] if len(found) > most else until)


async def number_of(connection: asyncpg.Connection, organization: int, dpu_id: str) -> int:
    """The number of the DPU of that id. Raises NotFound if there is none."""
    number: int | None = await connection.fetchval(
        "SELECT id FROM occupancy.dpu WHERE organization = $1 AND dpu_id = $2", organization, dpu_id
    )
    if number is None:
        raise NotFound(f"there is no DPU {dpu_id!r}", field="dpu_id", value=dpu_id)
    return number


async def seq_breaks(connection: asyncpg.Connection, dpu: int, since: datetime, until: datetime) -> SeqBreaks:
    """The latest gaps and restarts in the numbers of a DPU (its number)."""
    rows = await connection.fetch(
        """
        SELECT kind, after_seq, before_seq, missing, after_time, before_time
        FROM (
          SELECT *, row_number() OVER (PARTITION BY kind ORDER BY before_time DESC, before_seq DESC) AS place
          FROM occupancy.seq_breaks($1, $2, $3)
          WHERE kind IN ('gap', 'restart')
        ) AS ranked
        WHERE place <= $4
        ORDER BY place
        """,
        dpu,
        since,
        until,
        MOST_BREAKS,
    )
    found: dict[str, list[SeqBreak]] = {"gap": [], "restart": []}
    for kind, *values in rows:
        found[kind].append(SeqBreak(*values))
    return SeqBreaks(found["gap"], found["restart"])


async def _states(
    connection: asyncpg.Connection, dpus: Sequence[tuple[int, str]], before: datetime
) -> list[DpuState]:
    rows = await connection.fetch(
        "SELECT * FROM occupancy.dpu_states($1, $2)", [number for number, _ in dpus], before
    )
    states = {row["dpu"]: row for row in rows}
    return [_state(dpu_id, states[number]) for number, dpu_id in dpus]


def _state(dpu_id: str, row: asyncpg.Record) -> DpuState:
    event = heartbeat = None
    if row["event_at"] is not None:
        event = LastEvent(row["event_at"], row["event_direction"], row["event_seq"], row["event_received_at"])
    if row["heartbeat_at"] is not None:
        heartbeat = LastHeartbeat(row["heartbeat_at"], row["heartbeat_received_at"], row["heartbeat_seq"])
    return DpuState(dpu_id, event, heartbeat, row["heard_at"], row["clock_skew_seconds"])


async def _seq_summary(
    connection: asyncpg.Connection, dpu: int, since: datetime, until: datetime
) -> SeqSummary | None:
    row = await connection.fetchrow("SELECT * FROM occupancy.seq_summary($1, $2, $3)", dpu, since, until)
    assert row is not None  # noqa: S101 -- a sum is one row
    if row["lowest"] is None and row["pending"] is None:
        return None
    breaks = SeqBreaks([], [])
    if row["gaps"] or row["restarts"]:
        breaks = await seq_breaks(connection, dpu, since, until)
    return SeqSummary(
        stored=row["stored"],
        unnumbered=row["unnumbered"],
        lowest=row["lowest"],
        highest=row["highest"],
        missing=row["missing"],
        pending=row["pending"],
        gap_count=row["gaps"],
        restart_count=row["restarts"],
        out_of_order=row["out_of_order"],
        gaps=breaks.gaps,
        restarts=breaks.restarts,
    )
