"""PostgreSQL's wire protocol as the embedded database serves it, over asyncpg and over plain sockets."""

import asyncio
import contextlib
import io
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import asyncpg
import pytest

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connect: TypeAlias = Callable[..., Awaitable["Connection"]]

PATIENCE = 10.0
PROTOCOL_3_0 = 196608
CANCEL_REQUEST = 80877102


@pytest.fixture
async def connect(url: str) -> AsyncIterator[Connect]:
    """Give a function that opens connections; they are closed after the test."""
    connections: list[Connection] = []

    async def open_connection(**options: Any) -> Connection:
        connection: Connection = await asyncpg.connect(
            url, timeout=PATIENCE, command_timeout=PATIENCE, **options
        )
        connections.append(connection)
        return connection

    yield open_connection
    for connection in connections:
        if not connection.is_closed():
            await connection.close(timeout=PATIENCE)


@pytest.fixture
async def a(connect: Connect) -> Connection:
    """Return a connection."""
    return await connect()


@pytest.fixture
async def b(connect: Connect) -> Connection:
    """Return another connection."""
    return await connect()


@pytest.fixture
async def table(a: Connection) -> str:
    """Return the name of an empty table with a key `id` and a text `note`."""
    await a.execute("CREATE TABLE IF NOT EXISTS item (id int PRIMARY KEY, note text)")
    await a.execute("TRUNCATE item")
    return "item"


# ---------------------------------------------------------------- pipelining and large messages


async def test_executemany_pipelines_thousands_of_statements(a: Connection, table: str) -> None:
    await a.executemany("INSERT INTO item VALUES ($1, $2)", [(i, "x" * 50) for i in range(3000)])

    assert await a.fetchval("SELECT count(*) FROM item") == 3000


async def test_error_within_executemany_undoes_all_of_it(a: Connection, table: str) -> None:
    ids = [(i if i != 500 else 3,) for i in range(1000)]

    with pytest.raises(asyncpg.UniqueViolationError):
        await a.executemany("INSERT INTO item (id) VALUES ($1)", ids)

    assert await a.fetchval("SELECT count(*) FROM item") == 0


async def test_arrays_and_texts_of_megabytes_arrive_whole(a: Connection, table: str) -> None:
    ids, notes = list(range(100_000)), ["y" * 50] * 100_000
    await a.execute("INSERT INTO item SELECT * FROM unnest($1::int[], $2::text[])", ids, notes)

    rows = await a.fetch("SELECT id, note FROM item ORDER BY id")

    assert [row["id"] for row in rows] == ids
    assert {row["note"] for row in rows} == {"y" * 50}
    assert await a.fetchval("SELECT length($1::text)", "z" * 8_000_000) == 8_000_000
    assert await a.fetchval("SELECT repeat('a', 8000000)") == "a" * 8_000_000


async def test_cursor_fetches_in_portions(a: Connection) -> None:
    async with a.transaction():
        numbers = [
            row["i"] async for row in a.cursor("SELECT i FROM generate_series(1, 1000) i", prefetch=50)
        ]

    assert numbers == list(range(1, 1001))


async def test_deeply_nested_expression_does_not_overflow_the_stack(a: Connection) -> None:
    depth = 1500
    nested = "(1+" * depth + "0" + ")" * depth

    assert await a.fetchval(f"SELECT {nested}") == depth


# ---------------------------------------------------------------- several connections


async def test_ten_connections_get_their_own_answers(connect: Connect) -> None:
    async def ask(number: int) -> list[int]:
        connection = await connect()
        return [await connection.fetchval("SELECT $1::int * 1000 + $2::int", number, k) for k in range(50)]

    answers = await asyncio.gather(*[ask(number) for number in range(10)])

    assert answers == [[number * 1000 + k for k in range(50)] for number in range(10)]


async def test_named_statements_belong_to_their_connection(a: Connection, b: Connection) -> None:
    add = await a.prepare("SELECT $1::int + 1", name="same")
    label = await b.prepare("SELECT 'b' || $1::text", name="same")

    for i in range(20):
        number, text = await asyncio.gather(add.fetchval(i), label.fetchval(str(i)))
        assert (number, text) == (i + 1, f"b{i}")
    await a.close()

    assert await label.fetchval("q") == "bq"


async def test_unnamed_statements_belong_to_their_connection(connect: Connect) -> None:
    numbers = await connect(statement_cache_size=0)
    texts = await connect(statement_cache_size=0)

    async def echo(connection: Connection, query: str, values: list[Any]) -> list[Any]:
        return [await connection.fetchval(query, value) for value in values]

    wanted_numbers = list(range(60))
    wanted_texts = [f"t{i}" for i in range(60)]
    got_numbers, got_texts = await asyncio.gather(
        echo(numbers, "SELECT $1::int", wanted_numbers), echo(texts, "SELECT $1::text", wanted_texts)
    )

    assert got_numbers == wanted_numbers
    assert got_texts == wanted_texts


async def test_preparing_does_not_keep_the_session(a: Connection, b: Connection) -> None:
    await a.prepare("SELECT 1")

    assert await b.fetchval("SELECT 2", timeout=2) == 2


async def test_transaction_is_invisible_to_others_and_makes_them_wait(
    a: Connection, b: Connection, table: str
) -> None:
    transaction = a.transaction()
    await transaction.start()
    await a.execute("INSERT INTO item VALUES (1)")
    other = asyncio.create_task(b.fetchval("SELECT count(*) FROM item"))
    answered, _ = await asyncio.wait({other}, timeout=0.3)
    await a.execute("INSERT INTO item VALUES (2)")
    await transaction.rollback()

    assert not answered
    assert await other == 0


async def test_errors_of_one_connection_do_not_reach_another(
    a: Connection, b: Connection, table: str
) -> None:
    await a.execute("INSERT INTO item VALUES (1)")

    async def fail() -> None:
        for _ in range(30):
            with pytest.raises(asyncpg.UniqueViolationError):
                await a.execute("INSERT INTO item VALUES ($1)", 1)
            with pytest.raises(asyncpg.DivisionByZeroError):
                await a.fetchval("SELECT $1::int / 0", 1)

    async def succeed() -> list[int]:
        return [await b.fetchval("SELECT $1::int", i) for i in range(60)]

    _, answers = await asyncio.gather(fail(), succeed())

    assert answers == list(range(60))
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await a.execute("SELECTT 1")


async def test_notifications_reach_the_listener_in_order(a: Connection, b: Connection) -> None:
    received: asyncio.Queue[object] = asyncio.Queue()
    await a.add_listener("news", lambda *event: received.put_nowait(event[3]))

    await b.execute("NOTIFY news, 'one'")
    await b.fetchval("SELECT pg_notify('news', $1)", "two")
    async with b.transaction():
        await b.execute("SELECT pg_notify('news', 'three')")

    got = [await asyncio.wait_for(received.get(), PATIENCE) for _ in range(3)]
    assert got == ["one", "two", "three"]
    await a.reset()


async def test_listener_survives_that_another_stops_listening(a: Connection, b: Connection) -> None:
    received: asyncio.Queue[object] = asyncio.Queue()
    await a.add_listener("news", lambda *event: received.put_nowait(event[3]))
    await b.execute("LISTEN news")
    await b.execute("UNLISTEN news")

    await b.execute("NOTIFY news, 'still here'")

    assert await asyncio.wait_for(received.get(), PATIENCE) == "still here"
    await a.reset()


# ---------------------------------------------------------------- clients that vanish


async def test_vanishing_within_a_transaction_rolls_it_back(
    a: Connection, connect: Connect, table: str
) -> None:
    doomed = await connect()
    await doomed.execute("BEGIN")
    await doomed.execute("INSERT INTO item VALUES (1)")

    doomed.terminate()

    assert await a.fetchval("SELECT count(*) FROM item") == 0
    async with a.transaction():
        await a.execute("INSERT INTO item VALUES (5)")
    assert await a.fetchval("SELECT count(*) FROM item") == 1


async def test_after_the_last_client_vanished_the_next_finds_no_transaction(url: str) -> None:
    doomed = await asyncpg.connect(url, timeout=PATIENCE)
    await doomed.execute("CREATE TABLE IF NOT EXISTS left_behind (id int)")
    await doomed.execute("BEGIN")
    await doomed.execute("INSERT INTO left_behind VALUES (1)")
    doomed.terminate()

    survivor = await asyncpg.connect(url, timeout=PATIENCE)
    try:
        assert await survivor.fetchval("SELECT count(*) FROM left_behind") == 0
        assert await survivor.fetchval("SELECT pg_current_xact_id_if_assigned()::text") is None
    finally:
        await survivor.close()


async def test_vanishing_within_a_message_harms_nobody(a: Connection, url: str) -> None:
    async with raw_connection(url) as (_, writer, _):
        writer.write(b"Q" + struct.pack("!i", 100_000) + b"SELECT")
        await writer.drain()

    assert await a.fetchval("SELECT 7") == 7


async def test_vanishing_before_the_sync_undoes_what_was_executed(
    a: Connection, url: str, table: str
) -> None:
    async with raw_connection(url) as (reader, writer, _):
        writer.write(
            raw_message(b"P", b"\0INSERT INTO item VALUES (1)\0" + struct.pack("!h", 0))
            + raw_message(b"B", b"\0\0" + struct.pack("!hhh", 0, 0, 0))
            + raw_message(b"E", b"\0" + struct.pack("!i", 0))
            + raw_message(b"H", b"")
        )
        await asyncio.wait_for(reader.readuntil(b"INSERT 0 1\0"), PATIENCE)

    assert await a.fetchval("SELECT count(*) FROM item") == 0


async def test_bytes_that_are_not_the_protocol_end_the_connection(a: Connection, url: str) -> None:
    async with raw_connection(url) as (reader, writer, _):
        writer.write(b"Q" + struct.pack("!i", -5))
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""

    assert await a.fetchval("SELECT 7") == 7


# ---------------------------------------------------------------- start-up and cancellation


async def test_client_that_prefers_encryption_gets_a_plain_connection(connect: Connect) -> None:
    connection = await connect(ssl="prefer")

    assert await connection.fetchval("SELECT 1") == 1


async def test_unknown_database_is_refused(connect: Connect) -> None:
    with pytest.raises(asyncpg.InvalidCatalogNameError, match='"nowhere" does not exist'):
        await connect(database="nowhere")


async def test_connections_work_after_a_query_that_timed_out(a: Connection, b: Connection) -> None:
    with pytest.raises(TimeoutError):
        await a.fetchval("SELECT pg_sleep(1)", timeout=0.2)

    assert await a.fetchval("SELECT 1") == 1
    assert await b.fetchval("SELECT 2") == 2


async def test_connections_work_after_a_timeout_while_waiting_for_a_turn(
    a: Connection, b: Connection
) -> None:
    await a.execute("BEGIN")
    await a.execute("SELECT 1")

    with pytest.raises(TimeoutError):
        await b.fetchval("SELECT 1", timeout=0.3)
    await a.execute("COMMIT")

    assert await b.fetchval("SELECT 2") == 2
    assert await a.fetchval("SELECT 3") == 3


async def test_request_that_waits_for_its_turn_can_be_cancelled(a: Connection, url: str, table: str) -> None:
    await a.execute("BEGIN")

    async with raw_connection(url) as (reader, writer, key):
        writer.write(raw_message(b"Q", b"INSERT INTO item VALUES (1)\0"))
        await writer.drain()
        await cancel(url, key)
        # The answer comes although the transaction is still open.
        await asyncio.wait_for(reader.readuntil(b"C57014\0"), PATIENCE)
    await a.execute("COMMIT")

    assert await a.fetchval("SELECT count(*) FROM item") == 0


async def test_waiting_behind_an_idle_transaction_ends_with_an_error(impatient_url: str) -> None:
    idle = await asyncpg.connect(impatient_url, timeout=PATIENCE)
    waiting = await asyncpg.connect(impatient_url, timeout=PATIENCE)
    try:
        await idle.execute("BEGIN")
        with pytest.raises(asyncpg.LockNotAvailableError, match="has been idle for 1 s"):
            await waiting.fetchval("SELECT 1", timeout=PATIENCE)
        await idle.execute("ROLLBACK")
        assert await waiting.fetchval("SELECT 2") == 2
    finally:
        await idle.close()
        await waiting.close()


# ---------------------------------------------------------------- pools


async def test_pool_of_four_runs_eight_tasks_with_transactions(url: str, table: str) -> None:
    async def count_up(pool: Pool) -> None:
        for _ in range(15):
            async with pool.acquire() as connection, connection.transaction():
                number = await connection.fetchval("SELECT note::int FROM item WHERE id = 1")
                await asyncio.sleep(0)
                await connection.execute("UPDATE item SET note = $1 WHERE id = 1", str(number + 1))

    async with asyncpg.create_pool(url, min_size=4, max_size=4, command_timeout=PATIENCE) as pool:
        await pool.execute("INSERT INTO item VALUES (1, '0')")
        await asyncio.gather(*[count_up(pool) for _ in range(8)])

        assert await pool.fetchval("SELECT note FROM item WHERE id = 1") == "120"


async def test_two_pools_whose_transactions_fail_now_and_then(url: str, table: str) -> None:
    async def insert(pool: Pool, worker: int) -> None:
        for k in range(20):
            with contextlib.suppress(asyncpg.UniqueViolationError):
                async with pool.acquire() as connection, connection.transaction():
                    await connection.execute("INSERT INTO item VALUES ($1)", (worker * 20 + k) // 2)

    options: dict[str, Any] = {"min_size": 2, "max_size": 3, "command_timeout": PATIENCE}
    async with asyncpg.create_pool(url, **options) as one, asyncpg.create_pool(url, **options) as other:
        await asyncio.gather(*[insert((one, other)[worker % 2], worker) for worker in range(8)])

        assert await one.fetchval("SELECT count(*) FROM item") == 80


# ---------------------------------------------------------------- settings and roles


async def test_settings_belong_to_their_connection(connect: Connect, b: Connection) -> None:
    a = await connect(server_settings={"application_name": "service", "timezone": "Asia/Tokyo"})
    await a.execute("SET app.tenant = 't1'")
    await a.execute("SET search_path TO pg_catalog")
    names = ("application_name", "timezone", "search_path", "app.tenant")

    async def read(connection: Connection) -> list[str | None]:
        return [await connection.fetchval("SELECT current_setting($1, true)", name) or None for name in names]

    assert await read(a) == ["service", "Asia/Tokyo", "pg_catalog", "t1"]
    assert await read(b) == [None, "UTC", '"$user", public', None]
    assert await read(a) == ["service", "Asia/Tokyo", "pg_catalog", "t1"]


async def test_reset_gives_back_what_the_client_started_with(connect: Connect, b: Connection) -> None:
    a = await connect(server_settings={"timezone": "Asia/Tokyo"})
    await a.execute("SET timezone = 'Europe/Berlin'")

    await a.execute("RESET ALL")

    assert await a.fetchval("SHOW timezone") == "Asia/Tokyo"
    assert await a.fetchval("SHOW search_path") == '"$user", public'
    assert await a.fetchval("SHOW enable_seqscan") == "on"


async def test_setting_that_was_rolled_back_does_not_return(a: Connection, b: Connection) -> None:
    await a.execute("BEGIN")
    await a.execute("SET timezone = 'Europe/Berlin'")
    await a.execute("ROLLBACK")

    assert await b.fetchval("SHOW timezone") == "UTC"
    assert await a.fetchval("SHOW timezone") == "UTC"


async def test_discard_all_of_one_connection_leaves_the_others_alone(a: Connection, b: Connection) -> None:
    await a.execute("SET timezone = 'Asia/Tokyo'")
    statement = await a.prepare("SELECT 1 + $1::int")
    await b.execute("SET timezone = 'Europe/Berlin'")

    await b.execute("DISCARD ALL")

    assert await b.fetchval("SHOW timezone") == "UTC"
    assert await a.fetchval("SHOW timezone") == "Asia/Tokyo"
    assert await statement.fetchval(1) == 2


async def test_roles_belong_to_their_connection(a: Connection, connect: Connect, table: str) -> None:
    await a.execute("CREATE ROLE reader LOGIN")
    reader = await connect(user="reader")

    assert await reader.fetchval("SELECT current_user") == "reader"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.fetch("SELECT * FROM item")
    assert await a.fetchval("SELECT current_user") == "postgres"
    await a.execute("GRANT SELECT ON item TO reader")
    assert await reader.fetch("SELECT * FROM item") == []


async def test_role_that_does_not_exist_is_refused(connect: Connect) -> None:
    stranger = await connect(user="stranger")

    with pytest.raises(asyncpg.ConnectionDoesNotExistError, match='"stranger" does not exist'):
        await stranger.fetchval("SELECT 1")


# ---------------------------------------------------------------- COPY


async def test_copy_out(a: Connection) -> None:
    output = io.BytesIO()

    await a.copy_from_query("SELECT i FROM generate_series(1, 50000) i", output=output, format="csv")

    assert output.getvalue().split() == [str(i).encode() for i in range(1, 50_001)]


async def test_copy_in(a: Connection) -> None:
    await a.execute("CREATE TABLE copied (id int, note text, at timestamptz)")
    records = [(i, "x", datetime(2025, 1, 1, tzinfo=UTC)) for i in range(20_000)]

    await a.copy_records_to_table("copied", records=records)

    rows = await a.fetch("SELECT * FROM copied ORDER BY id")
    assert [tuple(row) for row in rows] == records


async def test_copy_into_a_missing_table_fails_and_the_connection_goes_on(a: Connection) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await a.copy_records_to_table("nowhere", records=[(1,)])

    assert await a.fetchval("SELECT 1") == 1


async def test_copy_among_other_statements_is_refused_and_does_not_hang(a: Connection, table: str) -> None:
    with pytest.raises(asyncpg.QueryCanceledError, match="only as a simple query of one statement"):
        await a.execute("SELECT 1; COPY item FROM STDIN")

    assert await a.fetchval("SELECT 1") == 1


# ---------------------------------------------------------------- helpers


@contextlib.asynccontextmanager
async def raw_connection(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]]:
    """Connect, start up, and hang up at the end without a word. The bytes are the key that cancels requests."""
    parameters = f"user\0postgres\0database\0{urlsplit(url).path.lstrip('/')}\0\0".encode()
    async with socket_to(url) as (reader, writer):
        writer.write(struct.pack("!ii", 8 + len(parameters), PROTOCOL_3_0) + parameters)
        greeting = await asyncio.wait_for(reader.readuntil(b"Z\0\0\0\x05I"), PATIENCE)
        key = greeting.split(b"K\0\0\0\x0c")[1][:8]
        yield reader, writer, key


@contextlib.asynccontextmanager
async def socket_to(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect and say nothing yet."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def cancel(url: str, key: bytes) -> None:
    """Send a cancel request, as another connection must."""
    async with socket_to(url) as (reader, writer):
        writer.write(struct.pack("!ii", 16, CANCEL_REQUEST) + key)
        await asyncio.wait_for(reader.read(), PATIENCE)  # it is hung up on once the request was dealt with


def raw_message(kind: bytes, body: bytes) -> bytes:
    """Return a message of the protocol."""
    return kind + struct.pack("!i", 4 + len(body)) + body
