"""Revisions 0003 and 0004 on a database that holds crossings: none is lost, each gets its delay, also after a fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from occupancy import schema
from occupancy.check import check
from occupancy.database import Database
from occupancy.embedded import running
from occupancy.refresh import Refresher
from occupancy.settings import Settings
from occupancy.storage import Storage
from tests.conftest import NATIVE_URL, ROOT, on_server, stop_jobs
from tests.sql.building import two_rooms

START = datetime(2026, 1, 15, tzinfo=UTC)
CHUNK = timedelta(days=7)
_CROSSINGS = "SELECT compressed FROM occupancy.stored_chunks() WHERE holds = 'crossing'"
_NOW = "SELECT time, dpu, seq, direction, delay FROM occupancy.crossing ORDER BY dpu, time, seq"
_BEFORE = (
    "SELECT time, dpu, seq, direction, floor(extract(epoch FROM received_at - time))::integer "
    "FROM occupancy.crossing ORDER BY dpu, time, seq"
)


@pytest.fixture(params=["embedded", pytest.param("native", marks=pytest.mark.native)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database that was never migrated."""
    if request.param == "embedded":
        with running(tmp_path, node_directory=ROOT / ".occupancy" / "node") as url:
            yield url
        return
    name = f"occupancy_test_delay_{tmp_path.name[-8:].strip('_')}"
    asyncio.run(on_server(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
    asyncio.run(on_server(f'CREATE DATABASE "{name}"'))
    try:
        yield make_url(NATIVE_URL or "").set(database=name).render_as_string(hide_password=False)
    finally:
        asyncio.run(on_server(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


@pytest.fixture
async def connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A database as revision 0002 leaves it, with three chunks of crossings; the second one was compressed by hand."""
    opened = await asyncpg.connect(url)
    await opened.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    await opened.execute("CREATE SCHEMA occupancy")
    await schema._run_revisions(url, "0002")
    await opened.execute(
        """
        INSERT INTO occupancy.crossing (time, dpu, seq, direction, received_at)
        SELECT at, 1 + i % 2, i, CASE WHEN i % 3 = 0 THEN -1 ELSE 1 END,
          -- in time, late by up to a week, and from a clock that is ahead
          at + CASE i % 5 WHEN 0 THEN i * INTERVAL '40.3 seconds' WHEN 1 THEN INTERVAL '-7.5 seconds'
            ELSE INTERVAL '0.25 seconds' END
        FROM generate_series(1, 15000) AS i
        CROSS JOIN LATERAL (SELECT $1::timestamptz + i * INTERVAL '2 minutes' AS at)
        """,
        START,
    )
    await opened.execute(
        "ALTER TABLE occupancy.crossing SET (timescaledb.compress, timescaledb.compress_segmentby = 'dpu')"
    )
    chunks = await opened.fetch(
        "SELECT chunk::text FROM show_chunks('occupancy.crossing') AS chunk ORDER BY 1"
    )
    assert len(chunks) == 3
    await opened.execute("SELECT compress_chunk($1::text::regclass)", chunks[1]["chunk"])
    yield opened
    await opened.close()


async def test_every_crossing_keeps_its_delay_also_after_a_fault(
    url: str, connection: asyncpg.Connection
) -> None:
    before = [tuple(row) for row in await connection.fetch(_BEFORE)]
    assert len(before) == 15000
    assert {-8, 0} < {row[4] for row in before}
    # in the third chunk: by then two are done
    await connection.execute(
        """
        CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql
          AS $$ BEGIN RAISE EXCEPTION 'the power is gone'; END $$;
        CREATE TRIGGER fail BEFORE UPDATE ON occupancy.crossing FOR EACH ROW
          WHEN (old.seq = 14000) EXECUTE FUNCTION public.fail();
        """
    )
    with pytest.raises(asyncpg.RaiseError, match="the power is gone"):
        await schema.migrate(url)
    assert await schema.current_revision(connection) == "0003"
    left = "SELECT array_agg(DISTINCT time >= $1) FROM occupancy.crossing WHERE received_at IS NOT NULL"
    assert await connection.fetchval(left, START + 2 * CHUNK) == [True]
    await connection.execute("DROP TRIGGER fail ON occupancy.crossing")

    await schema.migrate(url)
    assert await schema.missing(connection) is None
    assert [tuple(row) for row in await connection.fetch(_NOW)] == before

    # and all goes on with them: aggregates, compressing, late events
    await stop_jobs(connection)
    a, _ = await two_rooms(connection)
    late, third = START + timedelta(hours=5, minutes=3, seconds=7), START + timedelta(minutes=6)
    database = await Database.connect(url, 1)
    try:
        refresher = Refresher(database, Settings(refresh="off", storage="off"))
        assert await refresher.run_once()
        assert {row["compressed"] for row in await connection.fetch(_CROSSINGS)} == {False}
        await Storage(database).run_once()
        assert {row["compressed"] for row in await connection.fetch(_CROSSINGS)} == {True}
        # the second one is there already
        sent = "SELECT code FROM occupancy.ingest_crossings(1, '{283,423}', $1, '{1,-1}', '{0,3}')"
        assert [row["code"] for row in await connection.fetch(sent, [late, third])] == ["duplicate"]
        assert await refresher.run_once()
        assert await check(database, None, None, None, lambda _done, _total: None) == []
        at = START + timedelta(days=1)
        net = await connection.fetchval("SELECT net FROM occupancy.count_at($1, $2)", a, at)
        assert net == await connection.fetchval("SELECT net FROM occupancy.recount_at($1, $2)", a, at)
    finally:
        await database.close()
