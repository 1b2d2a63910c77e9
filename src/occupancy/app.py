"""The web application: what it is made of, and what it holds while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import APIRouter, Depends, FastAPI
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from starlette.middleware.trustedhost import TrustedHostMiddleware

from occupancy import __version__
from occupancy.api import counts, doorways, dpus, events, health, metrics, problems, resets, spaces
from occupancy.api.security import require_key
from occupancy.database import DEFAULT_ORGANIZATION, Database
from occupancy.refresh import Refresher
from occupancy.settings import Settings
from occupancy.topology import Topology

_LOOPBACK_NAMES = ["localhost", "127.0.0.1", "[::1]", "::1"]


def create_app(settings: Settings, database_url: str) -> FastAPI:
    """The service on the database at `database_url`. It connects when it starts, not here."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = await Database.connect(database_url, settings.database_connections)
        address = make_url(database_url).set(drivername="postgresql+asyncpg")
        engine = create_async_engine(address, pool_size=4, max_overflow=0, pool_pre_ping=True)
        app.state.database = database
        app.state.topology = Topology(
            async_sessionmaker(engine, expire_on_commit=False), DEFAULT_ORGANIZATION
        )
        refreshing = None
        try:
            await database.require_schema()
            if settings.refresh == "auto":
                refreshing = asyncio.create_task(Refresher(database, settings).run_forever())
            yield
        finally:
            if refreshing is not None:
                refreshing.cancel()
                with suppress(asyncio.CancelledError):
                    await refreshing
            await engine.dispose()
            await database.close()

    app = FastAPI(
        title="Occupancy",
        version=__version__,
        summary="How many people are in a space, now and at any past instant, exactly.",
        lifespan=lifespan,
    )
    app.state.settings = settings
    problems.install(app)
    if settings.api_key is None:
        # Anybody's web page may try a name that leads to this machine; none but these names it.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=_LOOPBACK_NAMES)

    v1 = APIRouter(prefix="/v1", dependencies=[Depends(require_key)])
    for module in (events, counts, spaces, doorways, dpus, resets):
        v1.include_router(module.router)
    app.include_router(v1)
    app.include_router(metrics.router, dependencies=[Depends(require_key)])
    app.include_router(health.router)
    return app
