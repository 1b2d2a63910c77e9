"""Bringing in events that were kept aside, once the reason is gone."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from occupancy.database import Database, store
from occupancy.ingest.way import Way
from occupancy.parse import parse_events, sent_payload
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
        after: int | None = 0
        while after is not None:
            after = await _replay_batch(connection, settings, organization, code, after, last, replayed)
    return replayed


async def _replay_batch(
    connection: asyncpg.Connection,
    settings: Settings,
    organization: int,
    code: str | None,
    after: int,
    last: int,
    replayed: Replayed,
) -> int | None:
    # Crossings first, rejected events after, as every writer does: so the two cannot wait for each other. What is
    # rejected for the same reason again is found to be kept already.
    async with connection.transaction():
        rows = await connection.fetch(
            """
            SELECT id, code, payload
            FROM occupancy.rejected_event
            WHERE organization = $1 AND ($2::text IS NULL OR code = $2) AND id > $3 AND id <= $4
            ORDER BY id
            LIMIT $5
            """,
            organization,
            code,
            after,
            last,
            _EVENTS_PER_BATCH,
        )
        clock = settings.clock()
        documents = [sent_payload(row["payload"]) for row in rows]
        # Text, or anything else that is no object, never becomes an event; it keeps the reason that it has.
        tried = [place for place, document in enumerate(documents) if isinstance(document, dict)]
        events = parse_events((documents[place] for place in tried), clock)
        result = await store(connection, organization, events, Way(holds=True))
        again = {event.index: event.code for event in result.rejected}
        gone = [
            rows[place]["id"] for index, place in enumerate(tried) if again.get(index) != rows[place]["code"]
        ]
        await connection.execute("DELETE FROM occupancy.rejected_event WHERE id = ANY ($1)", gone)
    replayed.accepted += result.accepted
    replayed.duplicates += result.duplicates
    replayed.still_rejected += len(result.rejected) + len(rows) - len(tried)
    return rows[-1]["id"] if rows else None
