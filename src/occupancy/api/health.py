"""Is the process alive, and can it do its work?"""

from __future__ import annotations

from fastapi import APIRouter, Request

from occupancy.database import Database
from occupancy.reading.database import ReadDatabase

router = APIRouter(tags=["operation"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> dict[str, str]:
    """The database answers and holds the schema of this version; 503 otherwise.

    With a read database: who answers reads now; 503 where nobody may.
    """
    database: Database = request.app.state.database
    reads: ReadDatabase = request.app.state.reads
    await database.require_schema()
    return {"status": "ok", **reads.state()}
