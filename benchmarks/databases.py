"""Databases of the benchmarks' own, next to the one that a URL names."""

from __future__ import annotations

import os
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import asyncpg
from sqlalchemy.engine import make_url

from occupancy import schema

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@asynccontextmanager
async def own_database(
    server_url: str, name: str, *, keep: bool = False, reuse: bool = False, refreshes: bool = False
) -> AsyncIterator[str]:
    """The URL of a new database with the schema, its jobs off; dropped at the end unless `keep`.

    With `reuse` it is the one that an earlier run kept, with today's functions. With `refreshes` its refresh job runs,
    as in operation.
    """
    url = make_url(server_url).set(database=name).render_as_string(hide_password=False)
    if not reuse:
        await drop_database(server_url, name)
        await _on_server(server_url, f'CREATE DATABASE "{name}"')
    try:
        await schema.migrate(url)
        if not refreshes:
            await _stop_jobs(url, fresh=not reuse)
        yield url
    finally:
        if not keep:
            await drop_database(server_url, name)


async def drop_database(server_url: str, name: str) -> None:
    """Drop a database, with whoever is connected to it."""
    await _on_server(server_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def _on_server(server_url: str, command: str) -> None:
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(command)
    finally:
        await connection.close()


async def _stop_jobs(url: str, *, fresh: bool) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs "
            "WHERE proc_schema = 'occupancy'"
        )
        await connection.execute("SELECT _timescaledb_functions.stop_background_workers()")
        if fresh:
            # It may have begun meanwhile, hold the lease, and have moved the horizon to now: what is loaded then would
            # be repaired, not materialized.
            await connection.execute(
                "UPDATE occupancy.horizon SET read_before = '-infinity', write_before = '-infinity'"
            )
            await connection.execute(
                "UPDATE occupancy.refresher SET holder = NULL, held_until = '-infinity', refreshed_at = '-infinity'"
            )
    finally:
        await connection.close()


async def refresh_up_to(connection: Connection, instant: datetime, *, step: str = "30 days") -> None:
    """A whole refresh in the product's own steps, as if `instant` were the last one to be aggregated."""
    holder = uuid4()
    if not await connection.fetchval("SELECT occupancy.take_refresh($1, '0')", holder):
        raise RuntimeError("another refresher is at work in the benchmark's own database")
    await connection.execute("SELECT occupancy.claim_stale($1)", holder)
    lag = datetime.now(UTC) - instant
    await connection.execute("SELECT occupancy.move_horizon($1, $2)", holder, lag)
    while await connection.fetchval("SELECT occupancy.repair_next($1, '30 days')", holder):
        pass
    materialize = "SELECT occupancy.materialize_next($1, $2::text::interval)"
    while await connection.fetchval(materialize, holder, step):
        pass
    await connection.execute("SELECT occupancy.end_refresh($1, true)", holder)


async def machine_facts(server_url: str) -> dict[str, str | int | float]:
    """What a reader of a result needs to know about where it was measured."""
    connection = await asyncpg.connect(server_url)
    try:
        postgresql = await connection.fetchval("SHOW server_version")
        timescaledb = await connection.fetchval(
            "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'"
        )
        shared_buffers = await connection.fetchval("SHOW shared_buffers")
    finally:
        await connection.close()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count() or 0,
        "load_average_1m": round(os.getloadavg()[0], 2),
        "processor": _processor(),
        "python": platform.python_version(),
        "postgresql": str(postgresql),
        "timescaledb": str(timescaledb),
        "shared_buffers": str(shared_buffers),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor()
    lines = cpuinfo.read_text().splitlines()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
