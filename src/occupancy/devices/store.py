"""Heartbeats on their way into the database."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from occupancy.database import Database
from occupancy.devices.heartbeats import Heartbeats, ParsedHeartbeats, SentReports
from occupancy.parse import Rejected, shown


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of the heartbeats of a request: how many are the latest of their DPU now, how many are older.

    `rejected`: heartbeats, and statements within them, that were not kept.
    """

    accepted: int
    older: int
    rejected: list[Rejected]


async def keep(database: Database, organization: int, parsed: ParsedHeartbeats) -> Kept:
    """Keep the heartbeats and what they say was sent, in one transaction: returning means committed.

    Raises DatabaseUnavailable, Busy.
    """
    async with database.connection() as connection:
        if not len(parsed.reports):
            # One statement is a transaction of its own: two round trips less.
            return await keep_within(connection, organization, parsed)
        async with connection.transaction():
            return await keep_within(connection, organization, parsed)


async def keep_within(connection: asyncpg.Connection, organization: int, parsed: ParsedHeartbeats) -> Kept:
    """Keep heartbeats in the transaction that is open on the connection."""
    beats = parsed.heartbeats
    left_over = await _keep_heartbeats(connection, organization, beats) if len(beats) else []
    if len(parsed.reports):
        await _keep_reports(connection, organization, parsed.reports)
    unknown = [
        Rejected(
            beats.indexes[row["index"] - 1],
            "unknown_dpu",
            f"dpu_id {shown(beats.dpu_ids[row['index'] - 1])} is not registered",
            None,
        )
        for row in left_over
        if row["code"] == "unknown_dpu"
    ]
    return Kept(
        accepted=len(beats) - len(left_over),
        older=len(left_over) - len(unknown),
        rejected=sorted([*parsed.rejected, *unknown], key=lambda one: one.index),
    )


async def _keep_heartbeats(
    connection: asyncpg.Connection, organization: int, beats: Heartbeats
) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await connection.fetch(
        "SELECT index, code FROM occupancy.keep_heartbeats($1, $2, $3, $4, $5, $6)",
        organization,
        beats.dpu_ids,
        beats.seqs,
        beats.times,
        beats.received_ats,
        beats.sent_ats,
    )
    return rows


async def _keep_reports(connection: asyncpg.Connection, organization: int, reports: SentReports) -> None:
    await connection.execute(
        "SELECT occupancy.keep_sent_reports($1, $2, $3, $4, $5, $6)",
        organization,
        reports.dpu_ids,
        reports.events,
        reports.from_times,
        reports.to_times,
        reports.stated_ats,
    )
