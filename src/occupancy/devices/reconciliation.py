"""What a DPU says it sent against what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from occupancy.database import Database
from occupancy.devices.status import SeqBreak, number_of, seq_breaks

LONGEST_RANGE = timedelta(days=31)
# Of statements that fit no hour.
MOST_OTHER_REPORTS = 1_000


@dataclass(frozen=True, slots=True)
class Tally:
    """What is stored, said and missing of a range; None: nobody can know. See the SQL function reconciliation."""

    stored: int | None
    towards: int | None
    away: int | None
    reported: int | None
    seq_lowest: int | None
    seq_highest: int | None
    seq_missing: int | None
    seq_missing_before: int | None
    restarts: int | None
    rejected: int
    missing: int | None
    pending: int | None
    matches: bool | None


@dataclass(frozen=True, slots=True)
class Hour:
    """The tally of the hour (UTC) that begins at `start`."""

    start: datetime
    tally: Tally


@dataclass(frozen=True, slots=True)
class ReportCompared:
    """A statement that is not about an hour of the range, compared over its own range (aware, UTC)."""

    start: datetime
    end: datetime
    reported: int
    stored: int | None
    matches: bool | None


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The hours of [start, end), whole ones, and the range as a whole; `gaps` are the latest ones."""

    start: datetime
    end: datetime
    hours: list[Hour]
    total: Tally
    other_reports: list[ReportCompared]
    gaps: list[SeqBreak]
    restarts: list[SeqBreak]
    stored_since: datetime | None


async def reconcile(
    database: Database, organization: int, dpu_id: str, start: datetime, end: datetime
) -> Reconciliation:
    """Compare, hour by hour, over [start, end), aware instants, widened to whole hours, from one snapshot.

    Raises NotFound if there is no such DPU.
    """
    since, until = _whole_hours(start, end)
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        dpu = await number_of(connection, organization, dpu_id)
        rows = await connection.fetch(
            "SELECT * FROM occupancy.reconciliation($1, $2, $3) ORDER BY hour NULLS LAST", dpu, since, until
        )
        others = await _other_reports(connection, dpu, since, until)
        breaks = await seq_breaks(connection, dpu, since, until)
        kept = await connection.fetchval(
            "SELECT CASE WHEN isfinite(since) THEN since END FROM occupancy.stored_since() AS since"
        )
    *hours, total = rows
    return Reconciliation(
        start=since,
        end=until,
        hours=[Hour(row["hour"], _tally(row)) for row in hours],
        total=_tally(total),
        other_reports=others,
        gaps=breaks.gaps,
        restarts=breaks.restarts,
        stored_since=kept,
    )


def _whole_hours(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    hour = timedelta(hours=1)
    since = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    until = end.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return since, until if until == end else until + hour


def _tally(row: asyncpg.Record) -> Tally:
    return Tally(**{name: value for name, value in row.items() if name != "hour"})


async def _other_reports(
    connection: asyncpg.Connection, dpu: int, since: datetime, until: datetime
) -> list[ReportCompared]:
    rows = await connection.fetch(
        "SELECT * FROM occupancy.other_reports($1, $2, $3, $4) ORDER BY said_from, said_to",
        dpu,
        since,
        until,
        MOST_OTHER_REPORTS,
    )
    return [ReportCompared(*row.values()) for row in rows]
