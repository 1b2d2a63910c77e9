"""Is the process alive, and can it do its work?"""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request

from occupancy.database import Database
from occupancy.errors import Busy, DatabaseUnavailable, OccupancyError, SchemaMismatch
from occupancy.ingest.intake import Intake
from occupancy.reading.database import ReadDatabase

router = APIRouter(tags=["operation"])

# Seconds within which the database has to answer: whoever asks does not wait for long.
_PATIENCE = 3.0


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> dict[str, str]:
    """Ready: the database answers and holds the schema of this version; 503 otherwise.

    With a read database: who answers reads now; 503 where nobody may. While the database is away: `degraded`, with what
    goes on without it (`events` into Kafka, `reads` by the replica); 503 where nothing does.
    """
    database: Database = request.app.state.database
    reads: ReadDatabase = request.app.state.reads
    try:
        async with asyncio.timeout(_PATIENCE):
            await database.require_schema(_PATIENCE)
    except SchemaMismatch:
        raise
    except TimeoutError:
        fault: OccupancyError = Busy("the database did not answer in time")
    except (DatabaseUnavailable, Busy) as error:
        fault = error
    else:
        return {"status": "ok", **reads.state()}
    left = await _goes_on(request.app.state.intake, reads)
    if not left:
        raise fault
    return {"status": "degraded", "detail": fault.detail, **left}


async def _goes_on(intake: Intake, reads: ReadDatabase) -> dict[str, str]:
    """What the process does without the database, and by whom."""
    left = {}
    if await intake.is_independent():
        left["events"] = "kafka"
    if reads.is_independent:
        left["reads"] = "replica"
    return left
