"""Databases to test on.

By default the embedded one: started once, emptied before each test. With OCCUPANCY_TEST_DATABASE_URL, tests marked
`native` run as well, each on a database of its own beside the one that the URL names; with OCCUPANCY_TEST_ON=native
all others do too.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest
from asgi_lifespan import LifespanManager
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from occupancy import schema
from occupancy.app import create_app
from occupancy.database import DEFAULT_ORGANIZATION, Database
from occupancy.embedded import running
from occupancy.settings import Settings
from occupancy.topology import Topology
from tests.effort import ON_NATIVE

ROOT = Path(__file__).parents[1]
KEY = "a-key-for-tests-only"
NATIVE_URL = os.environ.get("OCCUPANCY_TEST_DATABASE_URL")

_DO_NOT_SCHEDULE = (
    "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs "
    "WHERE proc_schema = 'occupancy'"
)
_NEVER_REFRESHED = (
    (
        "UPDATE occupancy.horizon "
        "SET read_before = '-infinity', write_before = '-infinity', dropped_before = '-infinity'"
    ),
    (
        "UPDATE occupancy.storage SET compress_crossings_after = DEFAULT, compress_aggregates_after = DEFAULT, "
        "keep_crossings = DEFAULT, keep_rejected = DEFAULT, worked_at = DEFAULT"
    ),
    "UPDATE occupancy.refresher SET holder = NULL, held_until = '-infinity', refreshed_at = '-infinity'",
)
_TABLES = (
    "space, doorway, dpu, placement, reset, effect, crossing, rejected_event, stale, request_receipt, "
    "kafka_offset, heartbeat, sent_report, held_crossing"
)

# TRUNCATE makes new files for a table and each of its indexes, which takes the embedded database 10 ms a table. So it
# is for hypertables with chunks, and for what has grown or was analyzed: no plan may depend on the test before.
_USED = """
    SELECT relation.oid::regclass::text AS name, has_chunks OR size > 65536 OR relation.relpages > 0 AS large
    FROM pg_class AS relation, LATERAL (
      SELECT pg_relation_size(relation.oid) AS size,
        EXISTS (SELECT FROM pg_inherits WHERE inhparent = relation.oid) AS has_chunks
    ) AS state
    WHERE relation.oid = ANY ($1::text[]::regclass[]) AND (has_chunks OR size > 0)
"""
_RESTART = """
    SELECT setval(seqrelid, seqstart, false) FROM pg_sequence JOIN pg_depend ON objid = seqrelid
    WHERE refobjid = ANY ($1::text[]::regclass[]) AND pg_sequence_last_value(seqrelid) IS NOT NULL
"""
_FILLED = """
    SELECT 'flow_' || level AS name FROM unnest(ARRAY['15m', '1d', '30d']) AS level
    WHERE EXISTS (SELECT FROM pg_inherits WHERE inhparent = occupancy.flow_table(level)::regclass)
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "native" in item.keywords and not NATIVE_URL:
            item.add_marker(pytest.mark.skip(reason="OCCUPANCY_TEST_DATABASE_URL names no TimescaleDB"))


async def on_server(statement: str) -> None:
    """Run a statement beside the databases of the tests."""
    connection = await asyncpg.connect(NATIVE_URL)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def stop_jobs(connection: asyncpg.Connection) -> None:
    """Tests say themselves when to refresh."""
    # A job may have begun already, so it is stopped before it is forbidden, and what it did is undone.
    for statement in (
        "SELECT _timescaledb_functions.stop_background_workers()",
        _DO_NOT_SCHEDULE,
        *_NEVER_REFRESHED,
    ):
        await connection.execute(statement)


async def _make_native(name: str) -> str:
    await on_server(f'CREATE DATABASE "{name}"')
    url = make_url(NATIVE_URL or "").set(database=name).render_as_string(hide_password=False)
    await schema.migrate(url)
    connection = await asyncpg.connect(url)
    await stop_jobs(connection)
    await connection.close()
    return url


def _native_database() -> Iterator[str]:
    name = f"occupancy_test_{uuid4().hex[:12]}"
    url = asyncio.run(_make_native(name))
    try:
        yield url
    finally:
        asyncio.run(on_server(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


@pytest.fixture
def native_url() -> Iterator[str]:
    """An empty migrated database of its own, on a server with several sessions."""
    yield from _native_database()


@pytest.fixture(scope="session")
def migrated_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One migrated database for the whole run; tests take `database_url`, which is empty."""
    if ON_NATIVE:
        yield from _native_database()
        return
    with running(tmp_path_factory.mktemp("embedded"), node_directory=ROOT / ".occupancy" / "node") as url:
        asyncio.run(schema.migrate(url))
        yield url


async def empty(connection: asyncpg.Connection) -> None:
    """Remove every space, DPU, event and aggregate, and set the horizon back."""
    tables = [f"occupancy.{name.strip()}" for name in _TABLES.split(",")]
    used = await connection.fetch(_USED, tables)
    large = [row["name"] for row in used if row["large"]]
    if large:
        await connection.execute(f"TRUNCATE {', '.join(large)} CASCADE")
    async with connection.transaction():
        # No trigger of ours: what they would derive goes as well.
        await connection.execute("SET LOCAL session_replication_role = replica")
        for row in used:
            if not row["large"]:
                await connection.execute(f"DELETE FROM {row['name']}")
        await connection.fetch(_RESTART, tables)
    for level in await connection.fetch(_FILLED):
        await connection.execute(f"TRUNCATE occupancy.{level['name']}")
    for statement in _NEVER_REFRESHED:
        await connection.execute(statement)


@pytest.fixture
async def database_url(migrated_url: str) -> str:
    """A migrated database without any space, DPU, event or aggregate."""
    connection = await asyncpg.connect(migrated_url)
    try:
        await empty(connection)
    finally:
        await connection.close()
    return migrated_url


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A plain connection to the test's database."""
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def settings() -> Settings:
    """As little as the service needs; no refresh that a test does not ask for."""
    return Settings(api_key=KEY, refresh="off", storage="off", database_connections=2)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The hot paths on the test's database."""
    opened = await Database.connect(database_url, 2)
    yield opened
    await opened.close()


@pytest.fixture
async def client(database_url: str, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with the right key."""
    async with LifespanManager(create_app(settings, database_url)) as manager:
        transport = httpx.ASGITransport(app=manager.app)
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as opened:
            yield opened


@pytest.fixture
async def topology(database_url: str) -> AsyncIterator[Topology]:
    """Spaces, doorways and DPUs of the default organization, without the service."""
    engine = create_async_engine(make_url(database_url).set(drivername="postgresql+asyncpg"))
    yield Topology(async_sessionmaker(engine, expire_on_commit=False), DEFAULT_ORGANIZATION)
    await engine.dispose()
