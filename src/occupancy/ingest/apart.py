"""What the database refuses, found by halving and kept aside alone."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC

import asyncpg

from occupancy.database import Ingested
from occupancy.faults import is_of_the_data
from occupancy.parse import Events, Parsed, Rejected, halves

_log = logging.getLogger(__name__)

_LONGEST_KEPT = 64 * 1024


async def store_apart(attempt: Callable[[Parsed], Awaitable[Ingested]], parsed: Parsed) -> Ingested:
    """Store by `attempt`, whole or in parts; an event that is refused alone is kept aside as `unstorable`.

    Raises what `attempt` raises where no event is to blame, or where even its text is refused.
    """
    try:
        return await attempt(parsed)
    except asyncpg.PostgresError as error:
        parts = _parts(parsed, error) if is_of_the_data(error) else None
        if parts is None:
            raise
    whole = Ingested()
    for part in parts:
        result = await store_apart(attempt, part)
        whole.accepted += result.accepted
        whole.duplicates += result.duplicates
        whole.rejected = sorted([*whole.rejected, *result.rejected], key=lambda event: event.index)
        whole.duplicate_indexes += result.duplicate_indexes
    return whole


def _parts(parsed: Parsed, error: asyncpg.PostgresError) -> list[Parsed] | None:
    events, rejected = parsed.events, parsed.rejected
    if events and rejected:
        return [Parsed(events), Parsed(rejected=rejected)]
    if len(events) > 1:
        return [Parsed(part) for part in halves(events)]
    if events:
        _log.error("an event cannot be stored", exc_info=error)
        return [Parsed(rejected=[_unstorable(events, error)])]
    if len(rejected) > 1:
        middle = len(rejected) // 2
        return [Parsed(rejected=rejected[:middle]), Parsed(rejected=rejected[middle:])]
    if rejected and not isinstance(rejected[0].payload, str):
        text = json.dumps(rejected[0].payload)[:_LONGEST_KEPT]
        return [Parsed(rejected=[replace(rejected[0], payload=text)])]
    return None


def _unstorable(events: Events, error: asyncpg.PostgresError) -> Rejected:
    payload = {
        "dpu_id": events.dpu_ids[0],
        "timestamp": events.times[0].astimezone(UTC).isoformat(),
        "direction": events.directions[0],
        "seq": events.seqs[0],
    }
    return Rejected(events.indexes[0], "unstorable", f"the database refuses it: {error.sqlstate}", payload)
