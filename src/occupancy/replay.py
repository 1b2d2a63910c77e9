"""Bringing in events that were kept aside, once the reason is gone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from occupancy.database import Database, store
from occupancy.parse import WRAPPED, Clock, parse_events
from occupancy.settings import Settings

_EVENTS_PER_BATCH = 5_000


@dataclass(slots=True)
class Replayed:
    """How many events kept aside were stored, had been stored before, or are still kept aside."""

    accepted: int = 0
    duplicates: int = 0
    still_rejected: int = 0


async def replay_rejected(
    database: Database, settings: Settings, organization: int, code: str | None = None
) -> Replayed:
    """Try every event that is kept aside again, or those with one reason `code`.

    Each batch is one transaction: an event leaves rejected_event only together with its crossing.
    """
    replayed = Replayed()
    async with database.connection() as connection:
        last: int = await connection.fetchval("SELECT coalesce(max(id), 0) FROM occupancy.rejected_event")
        while await _replay_batch(connection, settings, organization, code, last, replayed):
            pass
    return replayed


async def _replay_batch(
    connection: asyncpg.Connection,
    settings: Settings,
    organization: int,
    code: str | None,
    last: int,
    replayed: Replayed,
) -> bool:
    # Taken out, judged anew, and put back under a new id if still not countable: so the loop ends at `last`.
    async with connection.transaction():
        rows = await connection.fetch(
            """
            DELETE FROM occupancy.rejected_event
            WHERE id IN (
              SELECT id FROM occupancy.rejected_event
              WHERE organization = $1 AND ($2::text IS NULL OR code = $2) AND id <= $3
              ORDER BY id
              LIMIT $4
              FOR UPDATE SKIP LOCKED
            )
            RETURNING payload
            """,
            organization,
            code,
            last,
            _EVENTS_PER_BATCH,
        )
        clock = Clock(datetime.now(UTC), settings.max_clock_skew, settings.earliest_event)
        result = await store(
            connection, organization, parse_events((_sent(row["payload"]) for row in rows), clock)
        )
    replayed.accepted += result.accepted
    replayed.duplicates += result.duplicates
    replayed.still_rejected += len(result.rejected)
    return bool(rows)


def _sent(payload: str) -> object:
    """What was sent: the inverse of `parse.payload_json`."""
    document = json.loads(payload)
    if isinstance(document, dict) and list(document) == [WRAPPED]:
        return json.loads(document[WRAPPED])
    return document
