"""While a chunk is compressed: who waits, and who does not. The compression is held open, just before it commits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from confluent_kafka import Message

from occupancy import schema
from occupancy.database import Database, store
from occupancy.errors import BeingCompressed
from occupancy.ingest.intake import Intake
from occupancy.ingest.way import Way
from occupancy.ingest.writer import Writer
from occupancy.kafka.batch import Batch, Span
from occupancy.kafka.offsets import Offsets
from occupancy.kafka.writer import BatchWriter
from occupancy.parse import Events, Parsed
from occupancy.refresh import Refresher
from occupancy.settings import Settings
from occupancy.storage import Storage
from tests.sql.building import two_rooms

pytestmark = pytest.mark.native

# A Thursday, on which a chunk of crossings begins.
START = datetime(2026, 1, 15, tzinfo=UTC)
CHUNK = timedelta(days=7)
MINUTE = timedelta(minutes=1)
INGEST = "SELECT code FROM occupancy.ingest_crossings(1, $1, $2, $3, $4)"
HOLD = "SELECT code FROM occupancy.hold_crossings(1, $1, $2, $3, $4)"
COUNT = "SELECT net FROM occupancy.count_at($1, $2)"
RECOUNT = "SELECT net FROM occupancy.recount_at($1, $2)"
ROOM_A = 1


@pytest.fixture
async def connections(native_url: str) -> AsyncIterator[list[asyncpg.Connection]]:
    """Five, to a database with two rooms and two chunks of crossings, an entry each four hours, aggregated."""
    opened = [await asyncpg.connect(native_url) for _ in range(5)]
    keeper = opened[0]
    assert (await two_rooms(keeper))[0] == ROOM_A
    hours = [START + timedelta(hours=hour, minutes=5) for hour in range(0, 2 * 7 * 24, 4)]
    await ingest(keeper, hours)
    await refresh(keeper)
    yield opened
    for connection in opened:
        await connection.close()


@pytest.fixture
async def database(native_url: str) -> AsyncIterator[Database]:
    """For what is Python."""
    opened = await Database.connect(native_url, 4)
    yield opened
    await opened.close()


async def ingest(connection: asyncpg.Connection, times: list[datetime], seq: int = 0) -> list[str]:
    """Entries into room A; what is said of those that were not stored."""
    size = len(times)
    rows = await connection.fetch(INGEST, ["283"] * size, times, [1] * size, [seq] * size)
    return [row["code"] for row in rows]


async def hold(connection: asyncpg.Connection, count: int, at: datetime, seq: int = 7) -> None:
    """As if entries into room A, one a minute, had come while their chunk was compressed."""
    await connection.execute(
        "INSERT INTO occupancy.held_crossing (organization, dpu_id, time, direction, seq) "
        "SELECT 1, '283', $2::timestamptz + i * INTERVAL '1 minute', 1, $3 FROM generate_series(1, $1::integer) AS i",
        count,
        at,
        seq,
    )


async def held(connection: asyncpg.Connection) -> int:
    """How many events are held."""
    count: int = await connection.fetchval("SELECT count(*) FROM occupancy.held_crossing")
    return count


async def store_held(connection: asyncpg.Connection) -> int:
    """The one step of a refresh; how many events it took."""
    holder = uuid4()
    assert await connection.fetchval("SELECT occupancy.take_refresh($1, '0')", holder)
    taken: int = await connection.fetchval("SELECT occupancy.store_held($1)", holder)
    await connection.execute("SELECT occupancy.end_refresh($1, false)", holder)
    return taken


async def refresh(connection: asyncpg.Connection) -> None:
    """A whole refresh."""
    await connection.execute("CALL occupancy.refresh_aggregates()")


async def chunk_of(connection: asyncpg.Connection, holds: str, at: datetime) -> str:
    """The chunk of crossings or aggregates that an instant belongs to."""
    name: str = await connection.fetchval(
        "SELECT chunk::text FROM occupancy.stored_chunks() "
        "WHERE holds = $1 AND chunk_start <= $2 AND chunk_end > $2",
        holds,
        at,
    )
    return name


async def compress(connection: asyncpg.Connection, chunk: str) -> None:
    assert await connection.fetchval("SELECT occupancy.compress_one($1::text::regclass)", chunk)


@asynccontextmanager
async def compressing(connection: asyncpg.Connection, chunk: str) -> AsyncIterator[None]:
    """All the work is done and all its locks are held, until the end of the block."""
    async with connection.transaction():
        await compress(connection, chunk)
        yield


async def done_or_waiting(
    watcher: asyncpg.Connection, task: asyncio.Task[Any], connection: asyncpg.Connection
) -> None:
    """Until the statement that a task runs on a connection has ended, or waits for a lock."""
    waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)"
    while not task.done() and not await watcher.fetchval(waits, connection.get_server_pid()):  # noqa: ASYNC110 -- nothing tells of it
        await asyncio.sleep(0.01)


def entries(times: list[datetime], seq: int = 0) -> Parsed:
    """Entries into room A, as a request holds them."""
    size = len(times)
    return Parsed(Events(list(range(size)), ["283"] * size, times, [1] * size, [seq] * size))


async def both(connection: asyncpg.Connection, at: datetime) -> tuple[int, int]:
    """The count of room A, and what it must be."""
    return await connection.fetchval(COUNT, ROOM_A, at), await connection.fetchval(RECOUNT, ROOM_A, at)


# ------------------------------------------------------------------ writers


async def test_a_late_event_for_a_chunk_that_is_being_compressed_holds_nobody_up(
    connections: list[asyncpg.Connection],
) -> None:
    keeper, late, other, watcher, refresher = connections
    chunk = await chunk_of(keeper, "crossing", START)
    # Longer than the barrier of a refresh and everybody else here waits for a lock: if it waited, they would fail.
    await late.execute("SET lock_timeout = '30s'")
    await other.execute("SET lock_timeout = '1s'")
    holder = uuid4()
    assert await refresher.fetchval("SELECT occupancy.take_refresh($1, '0')", holder)
    async with compressing(keeper, chunk):
        sent = asyncio.create_task(ingest(late, [START + MINUTE]))
        await done_or_waiting(watcher, sent, late)
        barrier = asyncio.create_task(
            refresher.fetchval("SELECT occupancy.move_horizon($1, '2 minutes')", holder)
        )
        await done_or_waiting(watcher, barrier, refresher)
        now = datetime.now(UTC)
        assert await ingest(other, [now]) == []
        # Often enough for plans that are made once; and late, but for another chunk.
        for _ in range(8):
            assert await ingest(other, [now]) == ["duplicate"]
        assert await ingest(other, [START + CHUNK + MINUTE]) == []
        assert await barrier is not None
        with pytest.raises(asyncpg.LockNotAvailableError) as refusal:
            await sent
        assert refusal.value.table_name == "crossing"
        assert "2026-01-15" in str(refusal.value)
    assert await ingest(late, [START + MINUTE]) == []
    await refresher.execute("SELECT occupancy.end_refresh($1, false)", holder)
    await refresh(refresher)
    at = START + timedelta(days=1)
    assert await both(watcher, at) == (7, 7)


async def test_no_writer_waits_for_a_chunk_between_its_events(connections: list[asyncpg.Connection]) -> None:
    keeper, late, *_ = connections
    await late.execute("SET lock_timeout = '1s'")
    # the very first and last instant beside the chunk between them
    before, after = START + CHUNK - timedelta(microseconds=1), START + 2 * CHUNK
    now = datetime.now(UTC)
    assert await ingest(keeper, [START, before, after, now]) == []
    between = await chunk_of(keeper, "crossing", START + CHUNK)
    async with keeper.transaction():
        # as at the end of its compression, or while somebody asks for that
        await keeper.execute(f"LOCK TABLE ONLY {between} IN ACCESS EXCLUSIVE MODE")
        # often enough for plans that are made once
        for turn in range(1, 8):
            new = now - turn * timedelta(seconds=1)
            assert await ingest(late, [START, new]) == ["duplicate"]
            assert await ingest(late, [START, before, after, new, now]) == ["duplicate"] * 5
            for statement in (INGEST, HOLD):
                rows = await late.fetch(
                    statement, ["283"] * 4, [before, after, now, START], [-1, 1, -1, 1], [0] * 4
                )
                assert [row["code"] for row in rows] == ["conflict", "duplicate", "conflict", "duplicate"]
            rows = await late.fetch(
                HOLD, ["283"] * 3, [START, new, START + CHUNK + MINUTE], [1] * 3, [0, turn, 0]
            )
            assert [row["code"] for row in rows] == ["duplicate"]
    assert await held(keeper) == 7
    details = await keeper.fetch("SELECT detail FROM occupancy.rejected_event")
    assert [row["detail"] for row in details] == [
        'dpu_id "283" has direction 1 at this timestamp and seq, not -1'
    ] * 2


async def test_of_requests_that_are_written_together_only_those_for_the_chunk_are_put_off(
    connections: list[asyncpg.Connection], database: Database
) -> None:
    keeper, *_ = connections
    chunk = await chunk_of(keeper, "crossing", START)
    async with compressing(keeper, chunk), Writer(database, Settings(refresh="off")) as writer:
        times = [START + CHUNK + MINUTE, START + MINUTE, datetime.now(UTC), START + CHUNK + 2 * MINUTE]
        answers = await asyncio.gather(
            *(writer.put(1, entries([at])) for at in times), return_exceptions=True
        )
        assert isinstance(answers[1], BeingCompressed)
        assert [answer.accepted for answer in (answers[0], *answers[2:])] == [1, 1, 1]  # type: ignore[union-attr]


async def test_an_import_waits_until_the_chunk_is_compressed(
    connections: list[asyncpg.Connection], database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    keeper, *_ = connections
    chunk = await chunk_of(keeper, "crossing", START)
    async with compressing(keeper, chunk):
        work = asyncio.create_task(database.ingest(1, entries([START + MINUTE])))
        while "tried again" not in caplog.text:
            assert not work.done()
            await asyncio.sleep(0.01)
    assert (await work).accepted == 1


# ------------------------------------------------------------------ held events


@pytest.mark.parametrize("guesses", [False, True])
async def test_held_events_are_stored_once_the_chunk_is_compressed(
    connections: list[asyncpg.Connection], database: Database, guesses: bool
) -> None:
    keeper, reader, *_ = connections
    chunk = await chunk_of(keeper, "crossing", START)
    at = START + timedelta(days=1)
    later = START + CHUNK + timedelta(days=1)
    before = await both(reader, later)
    # twice in the batch, stored already, for another chunk, from a DPU that nobody knows
    times = [START + MINUTE, START + MINUTE, START + 5 * MINUTE, START + CHUNK + MINUTE, START + 2 * MINUTE]
    dpus = ["283", "283", "283", "283", "nobody"]
    batch = Parsed(Events(list(range(5)), dpus, times, [1] * 5, [0] * 5))
    async with compressing(keeper, chunk):
        async with database.connection() as connection, connection.transaction():
            result = await store(connection, 1, batch, Way(guesses=guesses, holds=True))
        assert (result.accepted, result.duplicates, result.rejected) == (5, 0, [])
        assert await store_held(reader) == 0
        # what is not held counts at once
        assert await reader.fetchval(COUNT, ROOM_A, later) == before[0] + 1
    assert (await Storage(database).state()).held == 4
    assert await Refresher(database, Settings(refresh="off")).run_once()
    assert (await Storage(database).state()).held == 0
    assert await both(reader, at) == (7, 7)
    assert await both(reader, later) == (before[0] + 2, before[1] + 2)
    rejected = await reader.fetch("SELECT code, payload ->> 'dpu_id' AS dpu_id FROM occupancy.rejected_event")
    assert [tuple(row) for row in rejected] == [("unknown_dpu", "nobody")]
    assert await store_held(reader) == 0


async def test_kafka_and_mqtt_go_on_past_an_event_for_a_chunk_that_is_being_compressed(
    connections: list[asyncpg.Connection],
    database: Database,
    native_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keeper, reader, *_ = connections
    settings = Settings(refresh="off")
    offsets = Offsets("cluster", "group", "topic", "owner")
    claimed = await offsets.claim(reader, [0])
    times = [START + MINUTE, datetime.now(UTC)]
    values = [
        json.dumps({"dpu_id": "283", "timestamp": at.isoformat(), "direction": 1}).encode() for at in times
    ]
    batch = Batch(
        [Message("topic", 0, offset, None, value, None) for offset, value in enumerate(values)],
        {0: Span(claimed[0].epoch, None, 2)},
    )
    stored: list[Batch] = []
    writer = BatchWriter(database, settings, offsets, 1, None, stored.append)
    async with compressing(keeper, await chunk_of(keeper, "crossing", START)):
        writing = asyncio.create_task(writer.write(writer.read(batch)))
        while not writing.done():
            assert "is tried again" not in caplog.text
            await asyncio.sleep(0.01)
        await writing
        assert stored == [batch]
        assert (await offsets.stored(reader, [0]))[0].next_offset == 2
        assert await held(reader) == 1
        async with Intake.open(native_url, settings, hold=True) as intake:
            assert (await intake.put(1, entries([START + 2 * MINUTE]))).accepted == 1
        async with Intake.open(native_url, settings) as intake:
            with pytest.raises(BeingCompressed):
                await intake.put(1, entries([START + 3 * MINUTE]))
    assert await store_held(reader) == 2
    assert await both(reader, START + timedelta(hours=1)) == (3, 3)


async def test_a_held_event_that_the_database_refuses_keeps_no_other_waiting(
    connections: list[asyncpg.Connection],
) -> None:
    keeper, *_ = connections
    await keeper.execute(
        "INSERT INTO occupancy.held_crossing (organization, dpu_id, time, direction, seq) "
        "SELECT 1, '283', $1::timestamptz + i * INTERVAL '1 minute', i - 1, 7 FROM generate_series(0, 2) AS i",
        START,
    )
    assert await store_held(keeper) == 3
    assert await held(keeper) == 0
    assert await keeper.fetchval("SELECT count(*) FROM occupancy.crossing WHERE seq = 7") == 2
    row = await keeper.fetchrow("SELECT code, detail, payload FROM occupancy.rejected_event")
    assert row is not None
    assert (row["code"], row["detail"]) == ("unstorable", "the database refuses it: 23514")


async def test_what_is_held_for_one_chunk_keeps_no_other_waiting(
    connections: list[asyncpg.Connection],
) -> None:
    keeper, other, *_ = connections
    chunk = await chunk_of(keeper, "crossing", START)
    # more than a step takes
    await hold(other, 1100, START)
    await hold(other, 3, START + CHUNK)
    async with compressing(keeper, chunk):
        assert await store_held(other) == 3
        assert await store_held(other) == 0
        assert await held(other) == 1100
    assert await store_held(other) == 1000


async def test_storing_what_is_held_is_a_step_of_a_refresh(connections: list[asyncpg.Connection]) -> None:
    keeper, *_ = connections
    step = "SELECT occupancy.store_held($1)"
    holder = uuid4()
    assert await keeper.fetchval("SELECT occupancy.take_refresh($1, '0')", holder)
    await keeper.execute("UPDATE occupancy.refresher SET held_until = clock_timestamp()")
    await hold(keeper, 1, START)
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="another refresher"):
        await keeper.fetchval(step, uuid4())
    assert await held(keeper) == 1
    assert await keeper.fetchval(step, holder) == 1
    lease = "SELECT held_until > clock_timestamp() + INTERVAL '20 seconds' FROM occupancy.refresher"
    assert await keeper.fetchval(lease)


async def test_what_takes_long_to_store_is_left_to_the_next_refresh(
    connections: list[asyncpg.Connection], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, *_ = connections
    await hold(keeper, 2500, START)
    monkeypatch.setattr("occupancy.refresh._STORING_HELD", 0.0)
    assert await Refresher(database, Settings(refresh="off")).run_once()
    assert await held(keeper) == 1500
    text = (schema.sql_directory() / "functions" / "refresh_aggregates.sql").read_text()
    assert text.count("INTERVAL '20 seconds'") == 1
    await keeper.execute(text.replace("INTERVAL '20 seconds'", "INTERVAL '0'"))
    await refresh(keeper)
    assert await held(keeper) == 500
    await keeper.execute(text)
    # what is stored of it counts, and is aggregated
    assert await both(keeper, START + CHUNK) == (42 + 2000, 42 + 2000)
    await refresh(keeper)
    assert await both(keeper, START + CHUNK) == (42 + 2500, 42 + 2500)


# ------------------------------------------------------------------ readers


async def test_whoever_reads_a_chunk_for_long_is_seen_before_the_work(
    connections: list[asyncpg.Connection], database: Database
) -> None:
    keeper, reader, *_ = connections
    chunk = await chunk_of(keeper, "crossing", START)
    said: list[str] = []
    async with reader.transaction():
        await reader.fetchval(f"SELECT count(*) FROM {chunk}")
        with pytest.raises(asyncpg.LockNotAvailableError) as refusal:
            await compress(keeper, chunk)
        assert str(refusal.value) == f"somebody has been reading {chunk} for 2 seconds"
        await Storage(database).run_once(report=said.append)
    mine = [line for line in said if chunk in line]
    assert len(mine) == 1
    assert mine[0].startswith(f"put off: compressing {chunk}: somebody has been reading")
    # all others
    assert len([line for line in said if line.startswith("compressed ")]) == len(said) - 1 > 0


async def test_no_count_waits_while_a_compression_looks_who_reads(
    connections: list[asyncpg.Connection],
) -> None:
    keeper, reader, counter, *_ = connections
    chunk = await chunk_of(keeper, "flow_15m", START)
    await counter.execute("SET lock_timeout = '500ms'")
    # with a reset the count of now begins inside a day
    now = datetime.now(UTC)
    await keeper.execute(
        "INSERT INTO occupancy.reset (space, at, count) VALUES (1, $1, 40)", START + 5 * MINUTE
    )
    counted = 0
    async with reader.transaction():
        await reader.fetchval(f"SELECT count(*) FROM {chunk}")
        work = asyncio.create_task(compress(keeper, chunk))
        while not work.done():
            # often enough for plans that are made once
            assert await counter.fetchval(COUNT, ROOM_A, now) == 40 + 83
            counted += 1
        with pytest.raises(asyncpg.LockNotAvailableError, match="somebody has been reading"):
            await work
    assert counted > 5


@pytest.mark.parametrize("holds", ["crossing", "flow_15m"])
async def test_those_who_read_by_turns_put_nothing_off(
    connections: list[asyncpg.Connection], holds: str
) -> None:
    keeper, one, another, watcher, *_ = connections
    chunk = await chunk_of(keeper, holds, START)
    turns = [(one, one.transaction()), (another, another.transaction())]

    async def read(turn: int) -> None:
        connection, transaction = turns[turn % 2]
        await transaction.start()
        await connection.execute(f"SELECT FROM {chunk} LIMIT 1")

    await read(0)
    work = asyncio.create_task(compress(keeper, chunk))
    turn = 0
    while not work.done():
        await asyncio.sleep(0.05)
        # the next one has come, or waits for an instant, when the one before goes
        coming = asyncio.create_task(read(turn + 1))
        await done_or_waiting(watcher, coming, turns[(turn + 1) % 2][0])
        await turns[turn % 2][1].commit()
        await coming
        turns[turn % 2] = (turns[turn % 2][0], turns[turn % 2][0].transaction())
        turn += 1
    await work
    assert turn > 0
    await turns[turn % 2][1].commit()


@pytest.mark.parametrize("holds", ["crossing", "flow_15m"])
async def test_whoever_begins_to_read_meanwhile_is_waited_for(
    connections: list[asyncpg.Connection], holds: str
) -> None:
    keeper, reader, watcher, *_ = connections
    chunk = await chunk_of(keeper, holds, START)
    flow = await keeper.fetchval("SELECT occupancy.flow_table('15m')::text")
    # so that there is time to begin
    await keeper.execute(
        "INSERT INTO occupancy.crossing (time, dpu, seq, direction) "
        "SELECT $1::timestamptz + i * INTERVAL '1 second', 1, i, 1 FROM generate_series(1, 300000) AS i"
        if holds == "crossing"
        else f"INSERT INTO {flow} (space, bucket) SELECT 100 + i, $1 FROM generate_series(1, 40000) AS i",
        START,
    )
    locks = (
        "SELECT granted FROM pg_locks "
        "WHERE pid = $1 AND relation = $2::text::regclass AND mode = $3 ORDER BY granted"
    )
    work = asyncio.create_task(compress(keeper, chunk))

    async def until(mode: str, *, granted: bool) -> None:
        while await watcher.fetchval(locks, keeper.get_server_pid(), chunk, mode) is not granted:
            assert not work.done()
            await asyncio.sleep(0.005)

    await until("ExclusiveLock", granted=True)
    async with reader.transaction():
        await reader.execute(f"SELECT FROM ONLY {chunk} LIMIT 1")
        await until("AccessExclusiveLock", granted=False)
        # more than the 2 seconds that others wait for locks
        await reader.fetchval("SELECT pg_sleep(4)")
        if holds == "flow_15m":
            # every count would wait behind it
            assert work.done()
            with pytest.raises(asyncpg.LockNotAvailableError) as refusal:
                await work
            assert "compress_chunk" in str(refusal.value.context)
            return
        assert not work.done()
    await work
    assert await keeper.fetchval(f"SELECT count(*) FROM ONLY {chunk}") == 0


@pytest.mark.parametrize("holds", ["crossing", "flow_15m"])
async def test_an_older_snapshot_sees_what_was_compressed_since(
    connections: list[asyncpg.Connection], holds: str
) -> None:
    """Late rows go into columns: a statement that began before, and is planned afterwards, must find them."""
    keeper, reader, *_ = connections
    chunk = await chunk_of(keeper, holds, START)
    inside = START + timedelta(minutes=11)
    rows = "SELECT count(*) FROM occupancy.crossing WHERE time < $1"
    flow = "SELECT sum(entries) FROM occupancy.flow_15m WHERE bucket < $1"

    async def seen(connection: asyncpg.Connection) -> tuple[int, ...]:
        # texts that nobody has planned yet
        new = f" -- {uuid4()}"
        return (
            await connection.fetchval(COUNT + new, ROOM_A, inside),
            await connection.fetchval(rows + new, START + CHUNK),
            await connection.fetchval(flow + new, START + CHUNK),
        )

    # the first time as a whole, then what came late, again and again
    for turn in range(3):
        async with reader.transaction(isolation="repeatable_read"):
            before = await seen(keeper)
            assert await reader.fetchval("SELECT count(*) FROM occupancy.horizon") == 1
            await compress(keeper, chunk)
            assert await seen(reader) == before, turn
            assert await seen(keeper) == before, turn
        assert await ingest(keeper, [START + MINUTE], seq=turn + 1) == []
        await refresh(keeper)
    row = await keeper.fetchrow(
        "SELECT * FROM occupancy.stored_chunks() WHERE chunk = $1::text::regclass", chunk
    )
    assert row is not None
    assert row["partial"]
    await compress(keeper, chunk)
    due = "SELECT $1::text::regclass IN (SELECT occupancy.chunks_to_compress())"
    assert await keeper.fetchval(due, chunk) is False


# ------------------------------------------------------------------ refreshes


async def test_aggregates_that_are_being_compressed_hold_up_no_refresh(
    connections: list[asyncpg.Connection], database: Database
) -> None:
    keeper, other, *_ = connections
    refresher = Refresher(database, Settings(refresh="off"))
    chunk = await chunk_of(keeper, "flow_15m", START)
    assert await ingest(other, [START + MINUTE]) == []
    horizon = "SELECT read_before = write_before AND read_before > $1 FROM occupancy.horizon"
    marks = "SELECT count(*) FROM occupancy.stale"
    back = "UPDATE occupancy.horizon SET read_before = $1, write_before = $1"
    earlier = datetime(2026, 9, 1, tzinfo=UTC)
    async with compressing(keeper, chunk):
        for work in (refresher.run_once, lambda: refresh(other)):
            await other.execute(back, earlier)
            await work()
            assert await other.fetchval(horizon, earlier)
            assert await other.fetchval(marks) == 1
            assert await both(other, START + timedelta(days=1)) == (7, 7)
    assert await refresher.run_once()
    assert await other.fetchval(marks) == 0
    assert await both(other, START + timedelta(days=1)) == (7, 7)


# ------------------------------------------------------------------ drops


async def test_a_drop_computes_what_follows_resets_while_others_write(
    connections: list[asyncpg.Connection],
) -> None:
    keeper, writer, watcher, gate, refresher = connections
    await writer.execute("SET lock_timeout = '1s'")
    stated = START + timedelta(days=1, minutes=3)
    await keeper.execute("INSERT INTO occupancy.reset (space, at, count) VALUES (1, $1, 40)", stated)
    await keeper.execute("UPDATE occupancy.storage SET keep_crossings = '30 days'")
    # what is computed there waits for the gate
    text = (schema.sql_directory() / "functions" / "flow_of_crossings.sql").read_text()
    assert text.count("\nBEGIN\n") == 1
    await keeper.execute(text.replace("\nBEGIN\n", "\nBEGIN\n  PERFORM pg_advisory_xact_lock_shared(42);\n"))
    move = "SELECT occupancy.move_dropped_before()"
    rest = "SELECT rest_entries FROM occupancy.reset"

    async def begin() -> asyncio.Task[Any]:
        work = asyncio.create_task(keeper.fetchval(move))
        await done_or_waiting(watcher, work, keeper)
        assert not work.done()
        return work

    holder = uuid4()
    assert await refresher.fetchval("SELECT occupancy.take_refresh($1, '0')", holder)
    async with gate.transaction():
        await gate.execute("SELECT pg_advisory_xact_lock(42)")
        work = await begin()
        assert await ingest(writer, [datetime.now(UTC)]) == []
        # Late, and for the quarter of an hour of the reset: it must not be missing in what is remembered.
        assert await ingest(writer, [stated + 2 * MINUTE], seq=3) == []
        # and no refresh may repair it unseen
        repair = asyncio.create_task(refresher.fetchval("SELECT occupancy.claim_stale($1)", holder))
        await done_or_waiting(watcher, repair, refresher)
        assert not repair.done()
    assert await work is None
    assert await repair == 1
    await refresher.execute("SELECT occupancy.end_refresh($1, false)", holder)
    await refresh(refresher)

    # another reset, stated meanwhile
    async with gate.transaction():
        await gate.execute("SELECT pg_advisory_xact_lock(42)")
        work = await begin()
        await writer.execute("INSERT INTO occupancy.reset (space, at, count) VALUES (2, $1, 3)", stated)
    assert await work is None
    assert {row["rest_entries"] for row in await keeper.fetch(rest)} == {None}

    assert await keeper.fetchval(move) == START + CHUNK
    # the one of the building at minute 5, and the late one
    assert [row["rest_entries"] for row in await keeper.fetch(rest + " ORDER BY space")] == [2, 0]


async def test_two_steps_at_a_time_say_so(connections: list[asyncpg.Connection], database: Database) -> None:
    keeper, *_ = connections
    said: list[str] = []
    async with keeper.transaction():
        await keeper.execute("SELECT pg_advisory_xact_lock(occupancy.storage_lock())")
        await Storage(database).run_once(report=said.append)
    assert said
    assert all(line.startswith("put off: compressing _timescaledb_internal.") for line in said)
    assert all(line.endswith(": another step of the work on old data is being done") for line in said)


async def test_a_chunk_that_has_gone_meanwhile_stops_nothing(
    connections: list[asyncpg.Connection], database: Database
) -> None:
    keeper, *_ = connections
    chunk = await chunk_of(keeper, "crossing", START)
    # TimescaleDB says the same of what is no chunk and of one that was dropped after it was looked up.
    due = """
        CREATE OR REPLACE FUNCTION occupancy.chunks_to_compress() RETURNS SETOF regclass LANGUAGE sql AS
        $$ SELECT unnest(ARRAY['occupancy.horizon', '%s'])::regclass $$
    """
    compressed = "SELECT compressed FROM occupancy.stored_chunks() WHERE chunk = $1::text::regclass"
    await keeper.execute(due % chunk)
    said: list[str] = []
    await Storage(database).run_once(report=said.append)
    assert [line.splitlines()[0] for line in said] == [
        "put off: compressing occupancy.horizon: chunk not found",
        f"compressed {chunk}",
    ]
    chunk = await chunk_of(keeper, "crossing", START + CHUNK)
    await keeper.execute(due % chunk)
    await keeper.execute("CALL occupancy.keep_storage()")
    assert await keeper.fetchval(compressed, chunk)
