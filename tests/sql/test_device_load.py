"""Heartbeats and status at size, on a server of several sessions: by index, in place, never waiting in a circle."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

pytestmark = pytest.mark.native

DPUS = 100_000
_KEEP = "SELECT * FROM occupancy.keep_heartbeats(1, $1, $2, $3, $4, $5)"


@pytest.fixture
async def fleet(native_url: str) -> AsyncIterator[asyncpg.Connection]:
    """100,000 DPUs with a heartbeat each, and an event in each of ten weeks; every thousandth is silent since then."""
    connection = await asyncpg.connect(native_url)
    await connection.execute(
        f"""
        INSERT INTO occupancy.dpu (organization, dpu_id, name)
        SELECT 1, to_char(number, 'FM"dpu-"000000'), '' FROM generate_series(1, {DPUS}) AS number;
        INSERT INTO occupancy.heartbeat (dpu, time, received_at, sent_at, heard_at)
        SELECT id, now(), now(), now(), now() - CASE id % 1000 WHEN 0 THEN INTERVAL '7 days' ELSE '0' END
        FROM occupancy.dpu;
        INSERT INTO occupancy.crossing (time, dpu, seq, direction)
        SELECT now() - week * INTERVAL '7 days' - id % 600 * INTERVAL '1 second', id, 10 - week, 1
        FROM occupancy.dpu, generate_series(0, 9) AS week
        WHERE id % 1000 <> 0 OR week > 0
        """
    )
    # not in the statement before, which is one transaction
    await connection.execute("ANALYZE occupancy.dpu, occupancy.heartbeat, occupancy.crossing")
    yield connection
    await connection.close()


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", []):
        yield from _nodes(below)


async def _full_scans(connection: asyncpg.Connection) -> int:
    """How many tables of events, heartbeats and DPUs were read whole within this transaction."""
    found: int = await connection.fetchval(
        """
        SELECT sum(pg_stat_get_xact_numscans(relation.oid))
        FROM pg_class AS relation
        WHERE relation.relkind = 'r' AND (relation.relname LIKE '\\_hyper\\_%'
          OR relation.oid IN ('occupancy.heartbeat'::regclass, 'occupancy.dpu'::regclass))
        """
    )
    return found


async def _index_scans(connection: asyncpg.Connection) -> dict[str, int]:
    rows = await connection.fetch(
        """
        SELECT chunk.chunk_name AS name, sum(pg_stat_get_xact_numscans(index.indexrelid))::int AS scans
        FROM timescaledb_information.chunks AS chunk
        JOIN pg_index AS index ON index.indrelid = format('%I.%I', chunk.chunk_schema, chunk.chunk_name)::regclass
        WHERE chunk.hypertable_name = 'crossing'
        GROUP BY 1, chunk.range_start
        ORDER BY chunk.range_start
        """
    )
    return {row["name"]: row["scans"] for row in rows}


async def test_status_of_a_page_reads_the_newest_chunks_by_index(fleet: asyncpg.Connection) -> None:
    dpus = list(range(50_001, 51_000))
    async with fleet.transaction():
        rows = await fleet.fetch("SELECT * FROM occupancy.dpu_states($1, now())", dpus)
        scans = await _index_scans(fleet)
        assert await _full_scans(fleet) == 0
    assert len(rows) == 999
    assert all(row["event_seq"] == 10 and row["heartbeat_at"] is not None for row in rows)
    assert len(scans) >= 10
    # nothing but what holds the last hour
    assert sum(scans.values()) <= 2 * 999
    assert all(count == 0 for count in list(scans.values())[:-2]), scans


async def test_only_those_not_found_are_looked_for_further_back(fleet: asyncpg.Connection) -> None:
    async with fleet.transaction():
        rows = await fleet.fetch("SELECT * FROM occupancy.dpu_states($1, now())", list(range(2_900, 3_100)))
        scans = list((await _index_scans(fleet)).values())
        assert await _full_scans(fleet) == 0
    silent = {row["dpu"]: row for row in rows}[3_000]
    assert (silent["event_seq"], len(rows)) == (9, 200)
    assert sum(scans[:-2]) < 20


async def test_the_silent_ones_of_the_fleet_are_found_by_index(fleet: asyncpg.Connection) -> None:
    ask = """
        SELECT array_agg(dpu) AS found
        FROM occupancy.dpus_behind(1, 'dpu-020000', 'dpu-030000', now() - INTERVAL '15 minutes', 1000)
    """
    async with fleet.transaction():
        found = await fleet.fetchval(ask)
        scans = list((await _index_scans(fleet)).values())
        chunks_read_whole = await fleet.fetchval(
            "SELECT sum(pg_stat_get_xact_numscans(oid)) FROM pg_class "
            "WHERE relkind = 'r' AND relname LIKE '\\_hyper\\_%'"
        )
    assert found == list(range(21_000, 30_001, 1000))
    assert chunks_read_whole == 0
    assert sum(scans[:-2]) == 0


async def test_heartbeats_stay_in_their_place(fleet: asyncpg.Connection) -> None:
    """No index is written: each page has room for a change of all its rows until the old ones are removed."""
    names = [f"dpu-{number:06}" for number in range(1, 5_001)]
    times = [datetime.now(UTC)] * len(names)
    assert await fleet.fetch(_KEEP, names, [1] * len(names), times, times, times) == []
    counted = None
    # What a session did is shown a little later.
    for _ in range(50):
        await fleet.execute("SELECT pg_stat_force_next_flush()")
        counted = await fleet.fetchrow(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'occupancy.heartbeat'::regclass"
        )
        if counted is not None and counted["n_tup_upd"] >= 5_000:
            break
        await asyncio.sleep(0.1)
    assert counted is not None
    assert counted["n_tup_upd"] == 5_000
    assert counted["n_tup_hot_upd"] >= 4_900


async def test_the_same_dpus_in_any_order_never_wait_in_a_circle(native_url: str) -> None:
    first = await asyncpg.connect(native_url)
    await first.execute(
        "INSERT INTO occupancy.dpu (organization, dpu_id, name) "
        "SELECT 1, number::text, '' FROM generate_series(1, 400) AS number"
    )
    start = datetime.now(UTC)
    hour = start.replace(minute=0, second=0, microsecond=0)
    latest = 0

    async def beat(connection: asyncpg.Connection, seed: int) -> None:
        nonlocal latest
        chance = random.Random(seed)
        for _ in range(15):
            names = [str(number) for number in range(1, 401)]
            chance.shuffle(names)
            latest += 1
            seqs = [latest] * len(names)
            times = [start + timedelta(milliseconds=latest)] * len(names)
            async with connection.transaction():
                await connection.fetch(_KEEP, names, seqs, times, times, times)
                await connection.execute(
                    "SELECT occupancy.keep_sent_reports(1, $1, $2, $3, $4, $5)",
                    names,
                    seqs,
                    [hour - timedelta(hours=1)] * len(names),
                    [hour] * len(names),
                    times,
                )

    connections = [first, *[await asyncpg.connect(native_url) for _ in range(3)]]
    try:
        await asyncio.gather(*(beat(connection, seed) for seed, connection in enumerate(connections)))
        for table, column in (("heartbeat", "seq"), ("sent_report", "events")):
            kept = await first.fetch(f"SELECT DISTINCT {column} AS value FROM occupancy.{table}")
            assert [row["value"] for row in kept] == [latest] == [60]
    finally:
        for connection in connections:
            await connection.close()


async def test_rejected_events_of_a_dpu_are_found_by_index(native_url: str) -> None:
    connection = await asyncpg.connect(native_url)
    try:
        await connection.execute(
            """
            INSERT INTO occupancy.rejected_event (organization, code, detail, payload)
            SELECT 1, 'unknown_dpu', '',
              jsonb_build_object('dpu_id', (number % 500)::text, 'timestamp', now(), 'seq', number)
            FROM generate_series(1, 20000) AS number
            """
        )
        await connection.execute("ANALYZE occupancy.rejected_event")
        (source,) = await connection.fetchrow(
            "SELECT prosrc FROM pg_proc WHERE oid = 'occupancy.rejected_of_dpu'::regproc"
        ) or [""]
        statement = (
            source.replace("rejected_of_dpu.organization", "1")
            .replace("rejected_of_dpu.dpu_id", "'77'::text")
            .replace("received_since", "now() - INTERVAL '1 day'")
        )
        plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}"))[0]["Plan"]
        assert any(node.get("Index Name") == "rejected_event_by_dpu" for node in _nodes(plan)), plan
        rows = await connection.fetch(
            "SELECT * FROM occupancy.rejected_of_dpu(1, '77', now() - INTERVAL '1 day')"
        )
        assert len(rows) == 40
    finally:
        await connection.close()
