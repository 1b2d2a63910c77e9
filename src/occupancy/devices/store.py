"""Heartbeats on their way into the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import asyncpg

from occupancy.devices.heartbeats import Heartbeats, ParsedHeartbeats, SentReports
from occupancy.parse import Rejected, shown

_Columns = TypeVar("_Columns", Heartbeats, SentReports)


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of the heartbeats of a request: how many are the latest of their DPU now, how many are older.

    `rejected`: heartbeats, and statements within them, that were not kept.
    """

    accepted: int
    older: int
    rejected: list[Rejected]


async def keep_together(
    connection: asyncpg.Connection, organization: int, requests: Sequence[ParsedHeartbeats]
) -> list[Kept]:
    """Keep the heartbeats of several requests, and what they say was sent; what became of each request.

    Two statements at most, which are one transaction only if one is open on the connection.
    """
    beats = _joined(Heartbeats(), [request.heartbeats for request in requests])
    reports = _joined(SentReports(), [request.reports for request in requests])
    left_over = await _keep_heartbeats(connection, organization, beats) if len(beats) else []
    if len(reports):
        await _keep_reports(connection, organization, reports)
    # The database counts places from 1.
    codes = {row["index"] - 1: row["code"] for row in left_over}
    kept = []
    first = 0
    for request in requests:
        places = range(len(request.heartbeats))
        kept.append(_kept(request, {at: codes[first + at] for at in places if first + at in codes}))
        first += len(request.heartbeats)
    return kept


def _joined(whole: _Columns, parts: Sequence[_Columns]) -> _Columns:
    for part in parts:
        for column in fields(part):
            getattr(whole, column.name).extend(getattr(part, column.name))
    return whole


def _kept(request: ParsedHeartbeats, codes: Mapping[int, str]) -> Kept:
    """`codes`: why heartbeats, by their place in the request's columns, are not the latest."""
    beats = request.heartbeats
    unknown = [
        Rejected(
            beats.indexes[place],
            "unknown_dpu",
            f"dpu_id {shown(beats.dpu_ids[place])} is not registered",
            None,
        )
        for place, code in codes.items()
        if code == "unknown_dpu"
    ]
    return Kept(
        accepted=len(beats) - len(codes),
        older=len(codes) - len(unknown),
        rejected=sorted([*request.rejected, *unknown], key=lambda one: one.index),
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
