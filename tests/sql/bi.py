"""Two organizations in one database, and logins that may see one of them each."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import uuid4

import asyncpg
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import async_sessionmaker

from occupancy.bi import drop_login, make_login
from occupancy.database import DEFAULT_ORGANIZATION, Database, topology_engine
from occupancy.demo import DAY
from occupancy.layout import Layout
from occupancy.refresh import Refresher
from occupancy.settings import Settings
from occupancy.simulation import BuildingPlan, Defects, simulate
from occupancy.simulation.files import corrected_layout
from occupancy.topology import Topology
from tests.conftest import empty

OTHER = "other"
# What nobody but the other organization may ever see. Ids can be guessed, so they hold none of it.
MARKS = ("geheim", "vertraulich", "424242")


async def declare(
    connection: asyncpg.Connection, organization: int, prefix: str, mark: str, capacity: int, since: datetime
) -> None:
    """A building with one room, two DPUs and a reset; the lobby is called the same everywhere."""
    await connection.execute(
        f"""
        WITH building AS (
          INSERT INTO occupancy.space (organization, space_id, name, kind, capacity, time_zone)
          VALUES ({organization}, 'lobby', 'Lobby {mark}', 'building', {capacity}, 'Europe/Berlin') RETURNING id
        ), room AS (
          INSERT INTO occupancy.space (organization, space_id, parent, name, kind, capacity)
          SELECT {organization}, '{prefix}-room', id, 'Room {mark}', 'room', {capacity} FROM building RETURNING id
        ), door AS (
          INSERT INTO occupancy.doorway (organization, doorway_id, name, side_a, side_b)
          SELECT {organization}, '{prefix}-entrance', 'Entrance {mark}', building.id, NULL::integer FROM building
          UNION ALL
          SELECT {organization}, '{prefix}-door', 'Door {mark}', room.id, building.id FROM room, building
          RETURNING id, doorway_id
        ), dpu AS (
          INSERT INTO occupancy.dpu (organization, dpu_id, name)
          VALUES ({organization}, '{prefix}-entrance-dpu', 'Sensor {mark}'),
            ({organization}, '{prefix}-door-dpu', 'Sensor {mark}')
          RETURNING id, dpu_id
        ), stated AS (
          INSERT INTO occupancy.reset (space, at, count, reason)
          SELECT id, $1::timestamptz - INTERVAL '1 hour', {capacity}, 'Reason {mark}' FROM room
        )
        INSERT INTO occupancy.placement (organization, dpu, doorway, facing)
        SELECT {organization}, dpu.id, door.id, 'a' FROM dpu JOIN door ON dpu.dpu_id = door.doorway_id || '-dpu'
        """,
        since,
    )


async def cross(connection: asyncpg.Connection, dpu_id: str, times: list[datetime], direction: int) -> None:
    """Crossings of a DPU, received a second later."""
    await connection.execute(
        """
        INSERT INTO occupancy.crossing (time, dpu, seq, direction, delay)
        SELECT t, dpu.id, 0, $3, 1
        FROM occupancy.dpu, unnest($2::timestamptz[]) AS t
        WHERE dpu.dpu_id = $1
        """,
        dpu_id,
        times,
        direction,
    )


async def two_organizations(connection: asyncpg.Connection, since: datetime) -> None:
    """Organization 1 is the default one; the other has more of everything."""
    other = await connection.fetchval(
        "INSERT INTO occupancy.organization (organization_id, name) VALUES ($1, 'Other geheim') "
        "ON CONFLICT (organization_id) DO UPDATE SET name = excluded.name RETURNING id",
        OTHER,
    )
    await declare(connection, 1, "our", "ours", 10, since)
    await declare(connection, other, "lab", "geheim vertraulich", 424242, since)
    minute = timedelta(minutes=1)
    await cross(connection, "our-entrance-dpu", [since + minute * step for step in range(5)], 1)
    await cross(connection, "our-door-dpu", [since + minute * step for step in range(3)], 1)
    await cross(connection, "lab-entrance-dpu", [since + minute * (30 + step) for step in range(50)], 1)
    await cross(connection, "lab-door-dpu", [since + minute * (30 + step) for step in range(20)], 1)


async def forget_organizations(connection: asyncpg.Connection) -> None:
    """Leave the database as other tests expect it."""
    await empty(connection)
    await connection.execute("DELETE FROM occupancy.bi_login")
    await connection.execute("DELETE FROM occupancy.organization WHERE organization_id = $1", OTHER)


@asynccontextmanager
async def login(connection: asyncpg.Connection, organization_id: str) -> AsyncIterator[str]:
    """A BI login under a name of its own: roles belong to the whole server."""
    name = f"bi_test_{uuid4().hex[:12]}"
    await make_login(connection, name, organization_id)
    try:
        yield name
    finally:
        await connection.execute(f"DROP OWNED BY {name} CASCADE")
        await drop_login(connection, name)


@asynccontextmanager
async def logged_in(
    connection: asyncpg.Connection, url: str, name: str, *, really: bool
) -> AsyncIterator[asyncpg.Connection]:
    """A session of the login: a real one, or where there is but one session, that one in its place."""
    if really:
        # no cache: for DISCARD ALL
        session = await asyncpg.connect(
            make_url(url).set(username=name).render_as_string(False), statement_cache_size=0
        )
        try:
            yield session
        finally:
            await session.close()
    else:
        await connection.execute(f"SET SESSION AUTHORIZATION {name}")
        try:
            yield connection
        finally:
            await connection.execute("RESET SESSION AUTHORIZATION")


async def demo_building(connection: asyncpg.Connection, url: str, settings: Settings) -> None:
    """The building of `occupancy demo`, corrected and refreshed."""
    simulation = simulate(BuildingPlan(), DAY, people=120, seed=1, defects=Defects.field())
    engine = topology_engine(url)
    try:
        topology = Topology(async_sessionmaker(engine, expire_on_commit=False), DEFAULT_ORGANIZATION)
        await Layout(topology).apply(corrected_layout(simulation))
    finally:
        await engine.dispose()
    events = simulation.events
    rejected = await connection.fetch(
        "SELECT * FROM occupancy.ingest_crossings(1, $1, $2, $3, $4) WHERE code IS NOT NULL",
        [event.dpu_id for event in events],
        [event.timestamp for event in events],
        [event.direction for event in events],
        [event.seq for event in events],
    )
    assert rejected == []
    database = await Database.connect(url, 1)
    try:
        await Refresher(database, settings).run_once()
    finally:
        await database.close()
    await connection.execute("ANALYZE")


def on_native() -> bool:
    """Whether tests run on a server with several sessions."""
    return os.environ.get("OCCUPANCY_TEST_ON") == "native"
