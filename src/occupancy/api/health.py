"""Is the process alive, and can it do its work?"""

from __future__ import annotations

from fastapi import APIRouter, Request

from occupancy.database import Database

router = APIRouter(tags=["operation"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> dict[str, str]:
    """The database answers and holds the schema of this version; 503 otherwise."""
    database: Database = request.app.state.database
    await database.require_schema()
    return {"status": "ok"}
