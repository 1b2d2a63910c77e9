"""Old data: compressed chunks take late events once and exactly; what was dropped is never answered about wrongly."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from occupancy.check import check
from occupancy.counts import count_at, counts_at, counts_below
from occupancy.database import Database
from occupancy.errors import InvalidInput
from occupancy.history.events import EventsQuestion, events_of_dpu, events_of_space
from occupancy.refresh import Refresher
from occupancy.settings import Settings
from occupancy.storage import Storage
from tests.sql.building import two_rooms

# A Thursday, on which a chunk of crossings begins.
START = datetime(2026, 1, 15, tzinfo=UTC)
CHUNK = timedelta(days=7)
MINUTE = timedelta(minutes=1)
MICROSECOND = timedelta(microseconds=1)
SECOND_CHUNK = START + CHUNK


async def ingest(
    connection: asyncpg.Connection, events: list[tuple[str, datetime, int]], seq: int = 0
) -> list[str]:
    """What became of each event (DPU, instant, direction): accepted, or why not."""
    rows = await connection.fetch(
        "SELECT index, code FROM occupancy.ingest_crossings(1, $1, $2, $3, $4)",
        [dpu for dpu, _, _ in events],
        [at for _, at, _ in events],
        [direction for _, _, direction in events],
        [seq] * len(events),
    )
    codes = {row["index"]: row["code"] for row in rows}
    return [codes.get(place, "accepted") for place in range(1, len(events) + 1)]


async def net(connection: asyncpg.Connection, space: int, at: datetime) -> int:
    """The net that count_at gives."""
    value: int = await connection.fetchval("SELECT net FROM occupancy.count_at($1, $2)", space, at)
    return value


async def compress_all(connection: asyncpg.Connection) -> None:
    """Every chunk of crossings and of aggregates, whatever its age."""
    for row in await connection.fetch("SELECT chunk::text FROM occupancy.stored_chunks()"):
        assert await connection.fetchval("SELECT occupancy.compress_one($1::text::regclass)", row["chunk"])
    kinds = await connection.fetch("SELECT holds, compressed, partial FROM occupancy.stored_chunks()")
    assert {row["holds"] for row in kinds} == {"crossing", "flow_15m"}
    assert all(row["compressed"] and not row["partial"] for row in kinds)


@pytest.fixture
async def spaces(connection: asyncpg.Connection, database: Database, settings: Settings) -> tuple[int, int]:
    """Rooms A and B, three chunks with an entry into A through DPU 283 at minute 5 of each hour, aggregated."""
    rooms = await two_rooms(connection)
    hours = [START + timedelta(hours=hour, minutes=5) for hour in range(0, 3 * 7 * 24, 4)]
    assert set(await ingest(connection, [("283", at, 1) for at in hours])) == {"accepted"}
    assert await Refresher(database, settings).run_once()
    return rooms


async def drop(connection: asyncpg.Connection, before: datetime, database: Database) -> None:
    """Both steps of a drop, up to the last chunk that ends by `before`."""
    await connection.execute(
        "UPDATE occupancy.storage SET keep_crossings = clock_timestamp() - $1::timestamptz", before
    )
    for _ in range(2):
        await Storage(database).run_once()
    assert await connection.fetchval("SELECT dropped_before FROM occupancy.horizon") == before
    assert await connection.fetchval("SELECT min(time) FROM occupancy.crossing") >= before


# ------------------------------------------------------------------ compressed chunks


async def test_late_events_into_compressed_chunks_are_stored_once_and_counted(
    connection: asyncpg.Connection, database: Database, settings: Settings, spaces: tuple[int, int]
) -> None:
    a, _ = spaces
    await compress_all(connection)
    late, stored = START + timedelta(days=2, minutes=7), START + timedelta(minutes=5)
    before = await net(connection, a, late)
    sent = [("283", late, 1), ("283", stored, 1), ("283", stored, -1), ("nobody", late, 1), ("423", late, -1)]
    assert await ingest(connection, sent) == ["accepted", "duplicate", "conflict", "unknown_dpu", "accepted"]
    assert await ingest(connection, sent) == [
        "duplicate",
        "duplicate",
        "conflict",
        "unknown_dpu",
        "duplicate",
    ]
    # 423 hangs on A's side: away from it is out of A
    assert await net(connection, a, late - MICROSECOND) == before
    assert await net(connection, a, late) == before
    row = await connection.fetchrow("SELECT entries, exits FROM occupancy.count_at($1, $2)", a, late)
    assert row is not None
    assert (row["entries"], row["exits"]) == (before + 1, 1)
    assert await Refresher(database, settings).run_once()
    assert await connection.fetchval("SELECT count(*) FROM occupancy.stale") == 0
    await compress_all(connection)
    assert await net(connection, a, late) == before
    assert await check(database, None, None, None, lambda _done, _total: None) == []
    assert await ingest(connection, sent) == [
        "duplicate",
        "duplicate",
        "conflict",
        "unknown_dpu",
        "duplicate",
    ]


async def test_a_batch_of_late_events_of_many_dpus_into_a_compressed_chunk_does_not_fail(
    connection: asyncpg.Connection, database: Database, settings: Settings, spaces: tuple[int, int]
) -> None:
    """TimescaleDB refuses to decompress more rows in a statement than a limit; here every event has its own batch."""
    a, _ = spaces
    await connection.execute(
        """
        WITH new AS (
          INSERT INTO occupancy.dpu (organization, dpu_id, name)
          SELECT 1, 'many-' || i, '' FROM generate_series(1, 60) AS i RETURNING id
        )
        INSERT INTO occupancy.placement (organization, dpu, doorway, facing)
        SELECT 1, new.id, doorway.id, 'a' FROM new, occupancy.doorway WHERE doorway_id = 'X'
        """
    )
    await Refresher(database, settings).run_once()
    times = [START + minute * MINUTE for minute in range(1000)]
    for minute in range(0, 1000, 250):
        batch = [(f"many-{dpu}", at, 1) for dpu in range(1, 61) for at in times[minute : minute + 250 : 10]]
        assert set(await ingest(connection, batch)) == {"accepted"}
    assert await Refresher(database, settings).run_once()
    await compress_all(connection)
    await connection.execute("SET timescaledb.max_tuples_decompressed_per_dml_transaction = 50")
    late = [(f"many-{dpu}", START + timedelta(minutes=501), 1) for dpu in range(1, 61)]
    old = [(f"many-{dpu}", START + timedelta(minutes=500), 1) for dpu in range(1, 61)]
    at = START + timedelta(days=1)
    before = await net(connection, a, at)
    assert set(await ingest(connection, late)) == {"accepted"}
    assert set(await ingest(connection, late + old)) == {"duplicate"}
    assert await net(connection, a, at) == before + 60
    # on this connection, which has the limit
    await connection.execute("CALL occupancy.refresh_aggregates()")
    assert await connection.fetchval("SELECT count(*) FROM occupancy.stale") == 0
    assert await net(connection, a, at) == before + 60
    assert await check(database, None, None, None, lambda _done, _total: None) == []


async def test_a_correction_far_back_repairs_compressed_aggregates(
    connection: asyncpg.Connection, database: Database, settings: Settings, spaces: tuple[int, int]
) -> None:
    a, b = spaces
    await compress_all(connection)
    end = START + 3 * CHUNK
    entries = await net(connection, a, end)
    assert entries > 0
    await connection.execute("UPDATE occupancy.placement SET facing = 'b' WHERE dpu = 1")
    assert await net(connection, a, end) == -entries
    assert await Refresher(database, settings).run_once()
    assert await net(connection, a, end) == -entries
    assert await net(connection, b, end) == 0
    assert await check(database, None, None, None, lambda _done, _total: None) == []


async def test_a_repair_decompresses_the_spaces_that_it_touches_only(
    connection: asyncpg.Connection, database: Database, settings: Settings, spaces: tuple[int, int]
) -> None:
    a, b = spaces
    noon = START + timedelta(hours=12)
    # out of A into B, so that B has aggregates too
    assert await ingest(connection, [("423", noon, -1)]) == ["accepted"]
    assert await Refresher(database, settings).run_once()
    await compress_all(connection)
    assert await ingest(connection, [("283", noon + MINUTE, 1)]) == ["accepted"]
    assert await Refresher(database, settings).run_once()
    rows: set[int] = set()
    for chunk in await connection.fetch(
        "SELECT chunk::text FROM occupancy.stored_chunks() WHERE holds = 'flow_15m'"
    ):
        # ONLY: what is stored as rows
        rows |= {row["space"] for row in await connection.fetch(f"SELECT space FROM ONLY {chunk['chunk']}")}
    assert rows == {a}
    assert await net(connection, b, noon) == 1


async def test_what_is_due_is_compressed_and_nothing_else(
    connection: asyncpg.Connection, database: Database, spaces: tuple[int, int]
) -> None:
    now = await connection.fetchval("SELECT now()")
    await ingest(connection, [("283", now, 1)])
    assert await Storage(database).run_once()
    rows = await connection.fetch(
        "SELECT holds, chunk_end > now() AS open, compressed FROM occupancy.stored_chunks()"
    )
    assert {(row["open"], row["compressed"]) for row in rows if row["holds"] == "crossing"} == {
        (False, True),
        (True, False),
    }
    assert all(row["compressed"] for row in rows if row["holds"] == "flow_15m")
    # again only after a while, unless it is asked for
    assert not await Storage(database).run_once(due_after=timedelta(hours=1))
    await ingest(connection, [("423", START + MINUTE, 1)])
    assert await connection.fetchval("SELECT count(*) FROM occupancy.chunks_to_compress()") == 1
    assert await Storage(database).run_once()
    assert await connection.fetchval("SELECT count(*) FROM occupancy.chunks_to_compress()") == 0


async def test_never_means_never(
    connection: asyncpg.Connection, database: Database, spaces: tuple[int, int]
) -> None:
    storage = Storage(database)
    await storage.change({"compress_crossings_after": None, "compress_aggregates_after": None})
    await storage.run_once()
    assert not await connection.fetchval("SELECT bool_or(compressed) FROM occupancy.stored_chunks()")
    assert await connection.fetchval("SELECT dropped_before FROM occupancy.horizon") is not None
    assert {chunk.due for chunk in (await storage.state()).chunks} == {""}


# ------------------------------------------------------------------ dropped crossings


async def refused(connection: asyncpg.Connection, statement: str, *arguments: Any) -> str:
    """The field that a statement is refused for."""
    with pytest.raises(asyncpg.InvalidParameterValueError, match="no longer stored") as refusal:
        await connection.fetch(statement, *arguments)
    return str(refusal.value.column_name)


async def test_counts_before_a_drop_are_known_at_quarters_of_an_hour_only(
    connection: asyncpg.Connection, database: Database, spaces: tuple[int, int]
) -> None:
    a, _ = spaces
    somebody_came = START + timedelta(days=1, hours=4)
    asked = [
        somebody_came,
        somebody_came + timedelta(minutes=15),
        somebody_came + timedelta(minutes=15) - MICROSECOND,
        # nobody came in that quarter
        somebody_came + timedelta(minutes=17),
        SECOND_CHUNK,
        SECOND_CHUNK + timedelta(days=1, minutes=3),
        datetime.now(UTC),
    ]
    before = [await net(connection, a, at) for at in asked]
    await drop(connection, SECOND_CHUNK, database)
    assert [await net(connection, a, at) for at in asked] == before
    inside = somebody_came + timedelta(minutes=7)
    assert await refused(connection, "SELECT * FROM occupancy.count_at($1, $2)", a, inside) == "at"
    assert await refused(connection, "SELECT * FROM occupancy.recount_at($1, $2)", a, SECOND_CHUNK) == "at"
    with pytest.raises(InvalidInput, match="quarters of an hour") as refusal:
        await count_at(database, 1, "A", inside)
    assert refusal.value.field == "at"
    assert refusal.value.value == inside.isoformat().replace("+00:00", "Z")
    with pytest.raises(InvalidInput, match="quarters of an hour"):
        await counts_at(database, 1, ["B", "A"], inside)
    with pytest.raises(InvalidInput, match="quarters of an hour"):
        await counts_below(database, 1, None, "", 10, inside)


async def test_a_reset_inside_a_quarter_of_an_hour_outlives_its_crossings(
    connection: asyncpg.Connection, database: Database, spaces: tuple[int, int]
) -> None:
    a, _ = spaces
    at = START + timedelta(days=1, hours=4, minutes=3)
    await connection.execute("INSERT INTO occupancy.reset (space, at, count) VALUES ($1, $2, 40)", a, at)
    now = datetime.now(UTC).replace(microsecond=0)
    hour = now - timedelta(hours=1)
    count = "SELECT net, entries, exits, since, last_crossing FROM occupancy.count_at($1, $2)"
    series = "SELECT first, last, net_min FROM occupancy.series(ARRAY[$1::integer], $2, $3, '15 minutes')"
    before = [await connection.fetchrow(count, a, t) for t in (now, at + timedelta(days=1), SECOND_CHUNK)]
    course = await connection.fetch(series, a, hour, now)
    assert before[0] is not None
    assert before[0]["net"] > 40
    await drop(connection, SECOND_CHUNK, database)
    after = [await connection.fetchrow(count, a, t) for t in (now, SECOND_CHUNK)]
    assert after == [before[0], before[2]]
    assert await connection.fetch(series, a, hour, now) == course
    # one that is stated afterwards cannot be counted on from
    statement = "INSERT INTO occupancy.reset (space, at, count) VALUES ($1, $2, 1)"
    assert await refused(connection, statement, a, at + MINUTE) == "at"
    await connection.execute(statement, a, START + timedelta(days=2))


async def test_nothing_repairs_or_erases_aggregates_whose_crossings_were_dropped(
    connection: asyncpg.Connection, database: Database, settings: Settings, spaces: tuple[int, int]
) -> None:
    a, _ = spaces
    old = [START + timedelta(hours=hour) for hour in (1, 24, 100)]
    before = [await net(connection, a, at) for at in old]
    later = START + 3 * CHUNK
    total = await net(connection, a, later)
    await drop(connection, SECOND_CHUNK, database)
    kept = await net(connection, a, SECOND_CHUNK)

    # a correction since ever: what lies before stays, what comes after is corrected
    await connection.execute("UPDATE occupancy.placement SET facing = 'b' WHERE dpu = 1")
    assert await connection.fetchval("SELECT min(since) >= $1 FROM occupancy.stale", SECOND_CHUNK)
    corrected = kept - (total - kept)
    assert await net(connection, a, later) == corrected
    assert await Refresher(database, settings).run_once()
    assert [await net(connection, a, at) for at in old] == before
    assert await net(connection, a, later) == corrected

    # a forced rebuild
    with pytest.raises(InvalidInput, match="cannot be computed anew"):
        await Refresher(database, settings).rebuild(START, later)
    assert await Refresher(database, settings).rebuild(SECOND_CHUNK, later) == 2
    assert await Refresher(database, settings).run_once()
    assert [await net(connection, a, at) for at in old] == before

    # aggregates that are made anew from the first crossing on
    await connection.execute("UPDATE occupancy.horizon SET read_before = dropped_before")
    await Refresher(database, settings).run_once()
    assert [await net(connection, a, at) for at in old] == before
    assert await net(connection, a, later) == corrected
    assert await check(database, None, None, None, lambda _done, _total: None) == []


async def test_a_correction_before_a_drop_is_reported(
    connection: asyncpg.Connection, database: Database, spaces: tuple[int, int]
) -> None:
    await drop(connection, SECOND_CHUNK, database)
    said: list[str] = []
    connection.add_log_listener(lambda _, notice: said.append(str(notice)))
    await connection.execute(
        "UPDATE occupancy.placement SET valid_to = $1 WHERE dpu = 1", SECOND_CHUNK + timedelta(days=1)
    )
    await asyncio.sleep(0)
    assert said == []
    await connection.execute("UPDATE occupancy.placement SET facing = 'b' WHERE dpu = 1")
    await asyncio.sleep(0)
    assert len(said) == 1
    assert "history before 2026-01-22 00:00:00+00 stays as it was" in said[0]


async def test_events_from_before_a_drop_are_kept_aside(
    connection: asyncpg.Connection, database: Database, spaces: tuple[int, int]
) -> None:
    await drop(connection, SECOND_CHUNK, database)
    sent = [("283", SECOND_CHUNK - MICROSECOND, 1), ("283", SECOND_CHUNK, 1), ("nobody", START, 1)]
    assert await ingest(connection, sent) == ["past_retention", "accepted", "unknown_dpu"]
    assert await ingest(connection, sent) == ["past_retention", "duplicate", "unknown_dpu"]
    row = await connection.fetchrow("SELECT * FROM occupancy.rejected_event WHERE code = 'past_retention'")
    assert row is not None
    assert row["detail"] == "crossings before 2026-01-22T00:00Z are no longer stored"
    oldest = "SELECT min(chunk_start) FROM occupancy.stored_chunks() WHERE holds = 'crossing'"
    assert await connection.fetchval(oldest) == SECOND_CHUNK


async def test_lists_of_events_do_not_pass_over_what_was_dropped(
    connection: asyncpg.Connection, database: Database, spaces: tuple[int, int]
) -> None:
    a, _ = spaces
    await drop(connection, SECOND_CHUNK, database)
    end = datetime.now(UTC)
    question = EventsQuestion(START, end)
    for events in (events_of_space(database, a, question), events_of_dpu(database, 1, question)):
        with pytest.raises(InvalidInput, match="ask from there on") as refusal:
            await events(None, 10)
        assert refusal.value.field == "start"
    page = await events_of_space(database, a, EventsQuestion(SECOND_CHUNK, end))(None, 10)
    assert page[0].timestamp == SECOND_CHUNK + timedelta(minutes=5)
    statement = "SELECT * FROM occupancy.entries_by_doorway($1, $2, $3)"
    assert await refused(connection, statement, a, START, end) == "start"


async def test_what_is_not_aggregated_or_waits_for_repair_is_not_dropped(
    connection: asyncpg.Connection, database: Database, settings: Settings, spaces: tuple[int, int]
) -> None:
    storage = Storage(database)
    await ingest(connection, [("423", START + timedelta(days=1), 1)])
    await connection.execute(
        "UPDATE occupancy.storage SET keep_crossings = clock_timestamp() - $1::timestamptz", SECOND_CHUNK
    )
    await storage.run_once()
    dropped_before = "SELECT dropped_before FROM occupancy.horizon WHERE isfinite(dropped_before)"
    assert await connection.fetchval(dropped_before) is None, "a mark lies in the chunk"
    assert await Refresher(database, settings).run_once()
    await connection.execute(
        "UPDATE occupancy.horizon SET read_before = $1, write_before = $1",
        SECOND_CHUNK - timedelta(minutes=15),
    )
    await storage.run_once()
    assert await connection.fetchval(dropped_before) is None, "the chunk is not aggregated to its end"
    await connection.execute("UPDATE occupancy.horizon SET write_before = $1, read_before = $1", SECOND_CHUNK)
    await storage.run_once()
    assert await connection.fetchval(dropped_before) == SECOND_CHUNK
    # given up, and dropped by the next run
    chunks = "SELECT count(*) FROM occupancy.stored_chunks() WHERE holds = 'crossing' AND chunk_end <= $1"
    assert await connection.fetchval(chunks, SECOND_CHUNK) == 1
    await storage.run_once()
    assert await connection.fetchval(chunks, SECOND_CHUNK) == 0


async def test_a_drop_waits_for_events_that_are_held(
    connection: asyncpg.Connection, database: Database, settings: Settings, spaces: tuple[int, int]
) -> None:
    a, _ = spaces
    storage = Storage(database)
    hold = (
        "INSERT INTO occupancy.held_crossing (organization, dpu_id, time, direction, seq) "
        "VALUES (1, '283', $1, 1, 7)"
    )
    dropped_before = "SELECT dropped_before FROM occupancy.horizon"
    before = await net(connection, a, SECOND_CHUNK - MICROSECOND)
    await connection.execute(
        "UPDATE occupancy.storage SET keep_crossings = clock_timestamp() - $1::timestamptz", SECOND_CHUNK
    )
    await connection.execute(hold, SECOND_CHUNK - MICROSECOND)
    never = await connection.fetchval(dropped_before)
    await storage.run_once()
    assert await connection.fetchval(dropped_before) == never
    assert await Refresher(database, settings).run_once()
    assert await connection.fetchval("SELECT count(*) FROM occupancy.rejected_event") == 0
    # for the chunk that stays
    await connection.execute(hold, SECOND_CHUNK)
    await storage.run_once()
    assert await connection.fetchval(dropped_before) == SECOND_CHUNK
    assert await net(connection, a, SECOND_CHUNK - MICROSECOND) == before + 1


async def test_a_clock_that_was_set_back_before_a_drop_stops_no_refresh(
    connection: asyncpg.Connection, database: Database, settings: Settings, spaces: tuple[int, int]
) -> None:
    await drop(connection, SECOND_CHUNK, database)
    lag = datetime.now(UTC) - START
    assert await Refresher(database, settings.model_copy(update={"refresh_lag": lag})).run_once()
    await connection.execute("UPDATE occupancy.horizon SET write_before = now() + INTERVAL '1 day'")
    assert await Refresher(database, settings.model_copy(update={"refresh_lag": lag})).run_once()
    assert await connection.fetchval("SELECT write_before FROM occupancy.horizon") == SECOND_CHUNK


# ------------------------------------------------------------------ policy


async def test_a_policy_that_nobody_can_mean_is_refused(database: Database, database_url: str) -> None:
    storage = Storage(database)
    for field in ("keep_crossings", "compress_crossings_after", "compress_aggregates_after", "keep_rejected"):
        with pytest.raises(InvalidInput) as refusal:
            await storage.change({field: timedelta(days=-1)})
        assert refusal.value.field == field
    with pytest.raises(InvalidInput, match="two days"):
        await storage.change({"keep_crossings": timedelta(days=1)})
    assert (await storage.change({"keep_crossings": timedelta(days=400)})).keep_crossings == timedelta(
        days=400
    )


async def test_rejected_events_are_deleted_by_age(connection: asyncpg.Connection, database: Database) -> None:
    await ingest(connection, [("nobody", START, 1), ("nobody", SECOND_CHUNK, 1)])
    await connection.execute(
        "UPDATE occupancy.rejected_event SET received_at = now() - INTERVAL '40 days' "
        "WHERE id = (SELECT min(id) FROM occupancy.rejected_event)"
    )
    storage = Storage(database)
    await storage.run_once()
    assert await connection.fetchval("SELECT count(*) FROM occupancy.rejected_event") == 2
    await storage.change({"keep_rejected": timedelta(days=30)})
    await storage.run_once()
    assert await connection.fetchval("SELECT count(*) FROM occupancy.rejected_event") == 1


async def test_the_procedure_does_the_same(
    connection: asyncpg.Connection, database: Database, spaces: tuple[int, int]
) -> None:
    a, _ = spaces
    await connection.execute(
        "UPDATE occupancy.storage SET keep_crossings = clock_timestamp() - $1::timestamptz", SECOND_CHUNK
    )
    before = await net(connection, a, SECOND_CHUNK)
    await connection.execute("CALL occupancy.keep_storage()")
    await connection.execute("CALL occupancy.keep_storage()")
    rows = await connection.fetch("SELECT holds, chunk_start, compressed FROM occupancy.stored_chunks()")
    assert min(row["chunk_start"] for row in rows if row["holds"] == "crossing") == SECOND_CHUNK
    assert all(row["compressed"] for row in rows)
    assert await net(connection, a, SECOND_CHUNK) == before
    await connection.execute("""CALL occupancy.keep_storage(NULL, '{"due_after": "1 hour"}')""")
