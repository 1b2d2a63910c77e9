"""The definition of the database: where its files are, and how a database is brought to it.

`sql/` describes the database as it is today, `alembic/` the path from an older one. Tables and aggregates change by
revisions only; functions, triggers, views, grants and jobs hold no data and are applied anew from `sql/` after each
upgrade.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from occupancy.errors import DatabaseUnavailable

# Alembic, with SQLAlchemy and Mako, takes half a second to load: only by what works with revisions.
if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

SCHEMAS = ("occupancy", "bi")
# By dependence: each refers only to those before it.
TABLES = (
    "organization", "space", "doorway", "dpu", "placement", "reset", "effect",
    "crossing", "rejected_event", "horizon", "storage", "refresher", "stale", "bi_login", "request_receipt",
    "kafka_offset", "heartbeat", "sent_report", "held_crossing",
)  # fmt: skip
AGGREGATES = ("flow_15m", "flow_1d", "flow_30d")
# The definitions of the aggregates call them.
_FUNCTIONS_OF_AGGREGATES = ("microseconds", "highest_net")

_PACKAGE = Path(__file__).parent
_CHECKOUT = _PACKAGE.parents[1]
_MIGRATION_LOCK = 7301000003
_EXTENSION = "CREATE EXTENSION IF NOT EXISTS timescaledb"


def _shipped(folder: str) -> Path:
    """A wheel carries sql/ and alembic/ inside the package, a checkout at its top level."""
    inside = _PACKAGE / f"_{folder}"
    return inside if inside.is_dir() else _CHECKOUT / folder


def sql_directory() -> Path:
    """The folder that describes the database as it is today."""
    return _shipped("sql")


def storage_files() -> Iterator[Path]:
    """Files that define what holds data, in the order in which they can be run on an empty database."""
    sql = sql_directory()
    yield from (sql / "schemas" / f"{name}.sql" for name in SCHEMAS)
    yield from (sql / "tables" / f"{name}.sql" for name in TABLES)
    yield from (sql / "functions" / f"{name}.sql" for name in _FUNCTIONS_OF_AGGREGATES)
    yield from (sql / "aggregates" / f"{name}.sql" for name in AGGREGATES)


def logic_files() -> Iterator[Path]:
    """Files that define what holds no data; every one can be run again and again.

    Views need the functions that they call, grants need both.
    """
    for folder in ("functions", "functions/bi", "triggers", "views", "access", "jobs"):
        yield from sorted((sql_directory() / folder).glob("*.sql"))


async def build(connection: asyncpg.Connection) -> None:
    """Make an empty database what `sql/` says, without any revision. For tests: migrate() is for everybody else."""
    await connection.execute(_EXTENSION)
    async with connection.transaction():
        for file in storage_files():
            await connection.execute(file.read_text())
    await apply_logic(connection)


async def apply_logic(connection: asyncpg.Connection) -> None:
    """Create or replace functions, triggers, views and grants, and add missing jobs, in one transaction.

    Functions that no file defines any more are dropped. One whose result or arguments change needs a revision that
    drops it first; so does a view that loses a column, and what goes from schema bi.
    """
    async with connection.transaction():
        # Functions name each other in any order.
        await connection.execute("SET LOCAL check_function_bodies = off")
        for file in logic_files():
            await connection.execute(file.read_text())
        # Last: until now, a view or trigger may have needed them.
        await _drop_forgotten_functions(connection)
        if await connection.fetchval("SELECT to_regclass('occupancy.alembic_version')") is not None:
            await connection.execute(f"COMMENT ON TABLE occupancy.alembic_version IS '{logic_version()}'")


@cache
def logic_version() -> str:
    """A digest of all functions, triggers, views, grants and jobs: what a database must hold besides the revision."""
    digest = hashlib.sha256()
    for file in logic_files():
        digest.update(file.read_bytes())
    return digest.hexdigest()


async def missing(connection: asyncpg.Connection) -> str | None:
    """What the database lacks for this version, in words; None if it lacks nothing."""
    revision = await current_revision(connection)
    if revision != head_revision():
        return f"it is at revision {revision or 'none'}, this version needs {head_revision()}"
    logic = await connection.fetchval(
        "SELECT obj_description('occupancy.alembic_version'::regclass, 'pg_class')"
    )
    return None if logic == logic_version() else "its functions are not those of this version"


async def _drop_forgotten_functions(connection: asyncpg.Connection) -> None:
    """Not in schema bi, where administrators may have put something of their own."""
    defined = [file.stem for file in (sql_directory() / "functions").glob("*.sql")]
    forgotten = await connection.fetch(
        "SELECT oid::regprocedure::text AS signature FROM pg_proc "
        "WHERE pronamespace = 'occupancy'::regnamespace AND proname <> ALL ($1)",
        defined,
    )
    for row in forgotten:
        await connection.execute(f"DROP ROUTINE {row['signature']}")


def _alembic_config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_shipped("alembic")).replace("%", "%%"))
    return config


@cache
def head_revision() -> str:
    """The revision that this version of the service needs. The first call loads Alembic."""
    from alembic.script import ScriptDirectory

    head = ScriptDirectory.from_config(_alembic_config()).get_current_head()
    if head is None:
        raise RuntimeError("alembic/ holds no revision")
    return head


def _upgrade(connection: Connection, revision: str) -> None:
    from alembic import command

    config = _alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


async def migrate(url: str, revision: str = "head") -> None:
    """Bring the database at `url` to `revision`, then functions, triggers, views and jobs to today's text.

    Safe on an empty database, on an older one, and on one that is up to date.
    """
    plain = await _connect(url)
    try:
        # One migration at a time; given back when the connection closes.
        await plain.execute(f"SELECT pg_advisory_lock({_MIGRATION_LOCK})")
        await plain.execute(_EXTENSION)
        await plain.execute("CREATE SCHEMA IF NOT EXISTS occupancy")
        await _run_revisions(url, revision)
        await apply_logic(plain)
    finally:
        await plain.close()


async def _connect(url: str) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(url)
    # a ValueError: the URL is none
    except (OSError, TimeoutError, asyncpg.PostgresError, ValueError) as error:
        raise DatabaseUnavailable(f"the database cannot be reached: {error}") from error


async def _run_revisions(url: str, revision: str) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url), poolclass=NullPool
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_upgrade, revision)
            await connection.commit()
    finally:
        await engine.dispose()


async def current_revision(connection: asyncpg.Connection) -> str | None:
    """The revision that a database is at, None if it was never migrated."""
    if await connection.fetchval("SELECT to_regclass('occupancy.alembic_version')") is None:
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM occupancy.alembic_version")
    return revision
