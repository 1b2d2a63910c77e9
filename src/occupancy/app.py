"""The web application: what it is made of, and what it holds while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import APIRouter, Depends, FastAPI, Security
from fastapi.security import HTTPBearer
from sqlalchemy.ext.asyncio import async_sessionmaker

from occupancy import __version__
from occupancy.api import (
    counts,
    doorways,
    dpus,
    event_lists,
    events,
    health,
    metrics,
    problems,
    resets,
    series,
    spaces,
    summaries,
)
from occupancy.api.body_limit import BodyLimit
from occupancy.api.gate import Gate
from occupancy.api.known_parameters import only_known_parameters
from occupancy.database import DEFAULT_ORGANIZATION, Database, topology_engine
from occupancy.refresh import Refresher
from occupancy.settings import Settings
from occupancy.topology import Topology

# For the description of the API; Gate is what asks for it.
_KEY = HTTPBearer(auto_error=False, description="The value of OCCUPANCY_API_KEY.")


def create_app(settings: Settings, database_url: str) -> FastAPI:
    """The service on the database at `database_url`. It connects when it starts, not here."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = await Database.connect(database_url, settings.database_connections)
        # Its own, so that a long step holds up neither ingest nor counts.
        refreshing_database = await Database.connect(database_url, 1)
        engine = topology_engine(database_url)
        app.state.database = database
        app.state.topology = Topology(
            async_sessionmaker(engine, expire_on_commit=False), DEFAULT_ORGANIZATION
        )
        refreshing = None
        try:
            await database.require_schema()
            if settings.refresh == "auto":
                refreshing = asyncio.create_task(Refresher(refreshing_database, settings).run_forever())
            yield
        finally:
            if refreshing is not None:
                refreshing.cancel()
                with suppress(asyncio.CancelledError):
                    await refreshing
            await engine.dispose()
            await refreshing_database.close()
            await database.close()

    app = FastAPI(
        title="Occupancy",
        version=__version__,
        summary="How many people are in a space, now and at any past instant, exactly.",
        lifespan=lifespan,
    )
    app.state.settings = settings
    problems.install(app)
    app.add_middleware(BodyLimit, most=settings.max_body_bytes)
    # Added last, so asked first: nothing is read of a request that may not come in.
    app.add_middleware(Gate, settings=settings)

    v1 = APIRouter(prefix="/v1", dependencies=[Security(_KEY), Depends(only_known_parameters)])
    for module in (events, counts, series, event_lists, summaries, spaces, doorways, dpus, resets):
        v1.include_router(module.router)
    app.include_router(v1)
    app.include_router(metrics.router, dependencies=[Security(_KEY)])
    app.include_router(health.router)
    return app
