"""The web application: what it is made of, and what it holds while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Security
from fastapi.security import HTTPBearer
from sqlalchemy.ext.asyncio import async_sessionmaker

from occupancy import __version__
from occupancy.api import (
    counts,
    doorways,
    dpu_status,
    dpus,
    event_lists,
    events,
    health,
    heartbeats,
    metrics,
    problems,
    reconciliation,
    resets,
    series,
    spaces,
    summaries,
)
from occupancy.api.body_limit import BodyLimit
from occupancy.api.door import Doorkeeper
from occupancy.api.freshness import Freshness
from occupancy.api.gate import Gate
from occupancy.api.hot_path import HotPath
from occupancy.api.known_parameters import only_known_parameters
from occupancy.database import DEFAULT_ORGANIZATION, Database, topology_engine
from occupancy.devices.keeper import Keeper
from occupancy.ingest.intake import Intake
from occupancy.reading.database import read_database
from occupancy.refresh import Refresher
from occupancy.settings import Settings
from occupancy.storage import Storage
from occupancy.topology import Topology

# For the description of the API; Gate is what asks for it.
_KEY = HTTPBearer(auto_error=False, description="The value of OCCUPANCY_API_KEY.")


@asynccontextmanager
async def _in_background(
    database_url: str, work: Callable[[Database], Coroutine[Any, Any, None]]
) -> AsyncIterator[None]:
    # A connection of its own, so that a long step holds up neither ingest nor counts, nor the other work.
    database = await Database.connect(database_url, 1)
    task = asyncio.create_task(work(database))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await database.close()


def create_app(settings: Settings, database_url: str) -> FastAPI:
    """The service on the database at `database_url`. It connects when it starts, not here."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            database = await Database.connect(database_url, settings.database_connections)
            stack.push_async_callback(database.close)
            await database.require_schema()
            engine = topology_engine(database_url)
            stack.push_async_callback(engine.dispose)
            app.state.database = database
            app.state.topology = Topology(
                async_sessionmaker(engine, expire_on_commit=False), DEFAULT_ORGANIZATION
            )
            app.state.intake = await stack.enter_async_context(Intake.open(database_url, settings))
            app.state.keeper = await stack.enter_async_context(Keeper.open(database_url, settings))
            if settings.refresh == "auto":
                await stack.enter_async_context(
                    _in_background(database_url, lambda own: Refresher(own, settings).run_forever())
                )
            if settings.storage == "auto":
                await stack.enter_async_context(
                    _in_background(database_url, lambda own: Storage(own).run_forever(settings))
                )
            app.state.reads = await stack.enter_async_context(read_database(database, database_url, settings))
            yield {Doorkeeper.NAME: Doorkeeper(settings.max_requests_waiting)}

    app = FastAPI(
        title="Occupancy",
        version=__version__,
        summary="How many people are in a space, now and at any past instant, exactly.",
        lifespan=lifespan,
    )
    app.state.settings = settings
    problems.install(app)
    app.add_middleware(HotPath, method="POST", path="/v1/events", endpoint=events.ingest)
    app.add_middleware(BodyLimit, most=settings.max_body_bytes, most_together=settings.max_bytes_waiting)
    if settings.read_database_url is not None:
        app.add_middleware(Freshness)
    # Added last, so asked first: nothing is read of a request that may not come in.
    app.add_middleware(Gate, settings=settings)

    v1 = APIRouter(prefix="/v1", dependencies=[Security(_KEY), Depends(only_known_parameters)])
    for module in (
        events,
        heartbeats,
        counts,
        series,
        event_lists,
        summaries,
        spaces,
        doorways,
        dpus,
        dpu_status,
        reconciliation,
        resets,
    ):
        v1.include_router(module.router)
    app.include_router(v1)
    app.include_router(metrics.router, dependencies=[Security(_KEY)])
    app.include_router(health.router)
    return app
