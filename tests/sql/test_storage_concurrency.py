"""Old data is compressed and dropped while others write and read: what waits, and that no answer is wrong."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from tests.sql.building import two_rooms

pytestmark = pytest.mark.native

# A Thursday, on which a chunk of crossings begins.
START = datetime(2026, 1, 15, tzinfo=UTC)
CHUNK = timedelta(days=7)
WRITERS = 3
# so that compressing the chunk for the first time takes a second or two
CROSSINGS = 400_000


@pytest.fixture
async def connections(native_url: str) -> AsyncIterator[list[asyncpg.Connection]]:
    opened = [await asyncpg.connect(native_url) for _ in range(WRITERS + 2)]
    yield opened
    for connection in opened:
        await connection.close()


async def refresh(connection: asyncpg.Connection) -> None:
    """A whole refresh up to now."""
    holder = uuid4()
    assert await connection.fetchval("SELECT occupancy.take_refresh($1, '0')", holder)
    await connection.execute("SELECT occupancy.claim_stale($1)", holder)
    await connection.execute("SELECT occupancy.move_horizon($1, '2 minutes')", holder)
    for step, size in (("repair_next", "30 days"), ("materialize_next", "30 days")):
        while await connection.fetchval(f"SELECT occupancy.{step}($1, '{size}')", holder):
            pass
    await connection.execute("SELECT occupancy.end_refresh($1, true)", holder)


async def test_late_events_while_their_chunk_is_compressed_are_stored_once(
    connections: list[asyncpg.Connection],
) -> None:
    keeper, reader, *writers = connections
    a, _ = await two_rooms(keeper)
    await keeper.execute(
        """
        INSERT INTO occupancy.crossing (time, dpu, seq, direction)
        SELECT $1::timestamptz + i * INTERVAL '1 second', 1 + i % 2, i, 1 FROM generate_series(1, $2::integer) AS i
        """,
        START,
        CROSSINGS,
    )
    await refresh(keeper)
    chunk = await keeper.fetchval(
        "SELECT chunk::text FROM occupancy.stored_chunks() WHERE holds = 'crossing'"
    )
    compressing = asyncio.Event()
    stored: list[int] = [0] * WRITERS
    refused: list[int] = [0] * WRITERS

    async def write(number: int) -> None:
        rng = random.Random(number)
        while not compressing.is_set() or stored[number] < 40:
            # All writers know the same few hundred instants, so that they meet; half of it is stored already.
            times = [START + timedelta(seconds=rng.randrange(1, 400)) for _ in range(20)]
            seqs = [rng.choice([2 * CROSSINGS, (at - START) // timedelta(seconds=1)]) for at in times]
            try:
                rows = await writers[number].fetch(
                    "SELECT code FROM occupancy.ingest_crossings(1, $1, $2, $3, $4)",
                    ["283" if at.second % 2 else "423" for at in times], times, [1] * 20, seqs,
                )  # fmt: skip
                stored[number] += 20 - len(rows)
            except asyncpg.LockNotAvailableError:
                refused[number] += 1
            await asyncio.sleep(0.01)

    async def read() -> int:
        answers = 0
        while not compressing.is_set():
            at = START + timedelta(seconds=random.randrange(CROSSINGS))
            row = await reader.fetchrow(
                "SELECT quick.net, slow.net AS right FROM occupancy.count_at($1, $2) AS quick, "
                "occupancy.recount_at($1, $2) AS slow",
                a,
                at,
            )
            assert row is not None
            assert row["net"] == row["right"]
            answers += 1
            await asyncio.sleep(0.01)
        return answers

    work = [asyncio.create_task(write(number)) for number in range(WRITERS)]
    reading = asyncio.create_task(read())
    # once as a whole, then what came meanwhile, again and again
    for _ in range(10):
        try:
            assert await keeper.fetchval("SELECT occupancy.compress_one($1::text::regclass)", chunk)
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(0.05)
    compressing.set()
    await asyncio.gather(*work)
    assert await reading > 0
    assert sum(stored) > 100
    assert sum(refused) > 0
    assert await keeper.fetchval("SELECT compressed FROM occupancy.stored_chunks() WHERE holds = 'crossing'")
    assert await keeper.fetchval("SELECT count(*) FROM occupancy.crossing") == CROSSINGS + sum(stored)
    twice = "SELECT FROM occupancy.crossing GROUP BY dpu, time, seq HAVING count(*) > 1"
    assert await keeper.fetch(twice) == []
    await refresh(keeper)
    assert (
        await keeper.fetch("SELECT * FROM occupancy.check_flow($1, $2)", START - CHUNK, START + CHUNK) == []
    )


async def test_a_drop_waits_for_readers_who_know_an_older_horizon(
    connections: list[asyncpg.Connection],
) -> None:
    """A chunk that is dropped is gone for older snapshots too: their counts would be wrong without a word."""
    keeper, reader, *_ = connections
    a, _ = await two_rooms(keeper)
    inside = START + timedelta(hours=1, minutes=7)
    await keeper.execute(
        "INSERT INTO occupancy.crossing (time, dpu, direction) SELECT $1::timestamptz - i * INTERVAL '1 minute', 1, 1 "
        "FROM generate_series(0, 20) AS i",
        inside,
    )
    await refresh(keeper)
    count = "SELECT net FROM occupancy.count_at($1, $2)"
    await keeper.execute("UPDATE occupancy.storage SET keep_crossings = '30 days'")

    async with reader.transaction(isolation="repeatable_read"):
        # It has read the horizon, and not yet the chunk.
        assert await reader.fetchval(count, a, START + 2 * CHUNK) == 21
        assert await keeper.fetchval("SELECT occupancy.move_dropped_before()") == START + CHUNK
        with pytest.raises(asyncpg.LockNotAvailableError):
            await keeper.fetchval("SELECT occupancy.drop_crossings()")
        assert await reader.fetchval(count, a, inside) == 21
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await reader.fetchval(count, a, inside)
    assert await keeper.fetchval("SELECT occupancy.drop_crossings()") == 1
    assert await reader.fetchval(count, a, START + 2 * CHUNK) == 21


async def test_a_drop_waits_for_writers_and_changes_of_topology(
    connections: list[asyncpg.Connection],
) -> None:
    """What they have marked is not to be seen before they commit."""
    keeper, writer, *_ = connections
    await two_rooms(keeper)
    await keeper.execute("INSERT INTO occupancy.crossing (time, dpu, direction) VALUES ($1, 1, 1)", START)
    await refresh(keeper)
    await keeper.execute("UPDATE occupancy.storage SET keep_crossings = '30 days'")
    late = "SELECT * FROM occupancy.ingest_crossings(1, '{283}', ARRAY[$1::timestamptz], '{1}', '{7}')"
    turn = "UPDATE occupancy.placement SET facing = 'b' WHERE dpu = 1 AND $1::timestamptz IS NOT NULL"
    for statement in (late, turn):
        async with writer.transaction():
            await writer.execute(statement, START + timedelta(hours=1))
            with pytest.raises(asyncpg.LockNotAvailableError):
                await keeper.fetchval("SELECT occupancy.move_dropped_before()")
        # now the marks are there, and have to be repaired first
        assert await keeper.fetchval("SELECT occupancy.move_dropped_before()") is None
        await refresh(keeper)
    assert await keeper.fetchval("SELECT occupancy.move_dropped_before()") == START + CHUNK
