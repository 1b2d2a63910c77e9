"""The steps of a refresh: what they do, who may take them, and that TimescaleDB itself would say the same."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import asyncpg
import pytest

from occupancy.check import check
from occupancy.database import Database
from occupancy.refresh import Progress, Refresher
from occupancy.settings import Settings
from tests.sql.building import two_rooms

START = datetime(2026, 1, 10, tzinfo=UTC)
END = START + timedelta(days=80)
# Few days, since each makes a chunk; in three buckets of 30 days, two of which end within the range.
DAYS = [0, 1, 20, 21, 55, 79]
NEVER = timedelta(0)


async def _some_days(connection: asyncpg.Connection, events: int = 200, seed: int = 1) -> tuple[int, int]:
    """Two rooms and events at random over 80 days."""
    spaces = await two_rooms(connection)
    await _send(connection, events, seed)
    return spaces


async def _send(connection: asyncpg.Connection, events: int, seed: int) -> None:
    rng = random.Random(seed)
    await connection.execute(
        "SELECT * FROM occupancy.ingest_crossings(1, $1, $2, $3, $4)",
        [rng.choice(["283", "423"]) for _ in range(events)],
        [START + timedelta(days=rng.choice(DAYS), seconds=rng.randrange(86400)) for _ in range(events)],
        [rng.choice([1, -1]) for _ in range(events)],
        [0] * events,
    )


async def _flows(connection: asyncpg.Connection) -> list[tuple[object, ...]]:
    rows = await connection.fetch(
        """
        SELECT '15m' AS level, flow.* FROM occupancy.flow_15m AS flow
        UNION ALL SELECT '1d', flow.* FROM occupancy.flow_1d AS flow
        UNION ALL SELECT '30d', flow.* FROM occupancy.flow_30d AS flow
        ORDER BY 1, 2, 3
        """
    )
    return [tuple(row) for row in rows]


async def test_timescaledbs_own_refresh_gives_the_same_rows(
    connection: asyncpg.Connection, database: Database, settings: Settings
) -> None:
    """The materialization hypertables are written by us; this is the way back, and must hold for every version."""
    await _some_days(connection)
    await Refresher(database, settings).run_once()
    ours = await _flows(connection)
    assert {row[0] for row in ours} == {"15m", "1d", "30d"}
    for level in ("15m", "1d", "30d"):
        await connection.execute(f"TRUNCATE occupancy.flow_{level}")
    assert await _flows(connection) == []
    for level in ("15m", "1d", "30d"):
        await connection.execute(
            f"CALL refresh_continuous_aggregate('occupancy.flow_{level}', '2025-11-01'::timestamptz, "
            "'2026-08-01'::timestamptz)"
        )
    assert await _flows(connection) == ours


async def test_late_events_and_corrections_are_repaired(
    connection: asyncpg.Connection, database: Database, settings: Settings
) -> None:
    await _some_days(connection)
    await Refresher(database, settings).run_once()
    before = await _flows(connection)
    await _send(connection, 50, seed=2)
    await connection.execute("UPDATE occupancy.placement SET facing = 'b' WHERE dpu = 2")
    assert await connection.fetchval("SELECT count(*) FROM occupancy.stale") > 0
    seen: list[Progress] = []
    await Refresher(database, settings).run_once(report=seen.append)
    assert await connection.fetchval("SELECT count(*) FROM occupancy.stale") == 0
    assert await _flows(connection) != before
    assert await check(database, None, None, None, lambda _done, _all: None) == []
    # 80 days of two spaces do not fit the budget of one transaction
    assert [progress.phase for progress in seen].count("repair") > 2


async def test_a_correction_touches_the_rows_of_its_spaces_only(
    connection: asyncpg.Connection, database: Database, settings: Settings
) -> None:
    space_a, space_b = await _some_days(connection)
    await Refresher(database, settings).run_once()
    versions = "SELECT bucket, xmin::text FROM occupancy.flow_15m_rows WHERE space = $1 ORDER BY bucket"
    table = await connection.fetchval("SELECT occupancy.flow_table('15m')::text")
    versions = versions.replace("occupancy.flow_15m_rows", table)
    before = [await connection.fetch(versions, space) for space in (space_a, space_b)]
    await connection.execute("UPDATE occupancy.placement SET facing = 'b' WHERE dpu = 1")
    await Refresher(database, settings).run_once()
    after = [await connection.fetch(versions, space) for space in (space_a, space_b)]
    assert before[0] != after[0]
    assert before[1] == after[1]


async def test_check_finds_what_is_wrong_and_rebuild_mends_it(
    connection: asyncpg.Connection, database: Database, settings: Settings
) -> None:
    space_a, _ = await _some_days(connection)
    refresher = Refresher(database, settings)
    await refresher.run_once()
    table = await connection.fetchval("SELECT occupancy.flow_table('15m')::text")
    bucket = await connection.fetchval("SELECT min(bucket) FROM occupancy.flow_15m WHERE space = $1", space_a)
    await connection.execute(
        f"UPDATE {table} SET entries = entries + 1 WHERE space = {space_a} AND bucket = $1", bucket
    )
    missing = await connection.fetchval(
        "SELECT max(bucket) FROM occupancy.flow_15m WHERE space = $1", space_a
    )
    await connection.execute(f"DELETE FROM {table} WHERE space = {space_a} AND bucket = $1", missing)

    wrong = await check(database, None, None, None, lambda _done, _all: None)
    finest = {difference.bucket: difference for difference in wrong if difference.level == "15m"}
    assert set(finest) == {bucket, missing}
    assert finest[missing].stored is None
    assert finest[missing].correct is not None
    assert {difference.space_id for difference in wrong} == {"A"}

    assert await refresher.rebuild(START - timedelta(days=1), END) == 2
    await refresher.run_once()
    assert await check(database, None, None, None, lambda _done, _all: None) == []


async def test_one_refresher_at_a_time(connection: asyncpg.Connection) -> None:
    first, second = uuid4(), uuid4()
    take = "SELECT occupancy.take_refresh($1, $2)"
    assert await connection.fetchval(take, first, NEVER)
    assert not await connection.fetchval(take, second, NEVER)
    await connection.execute("SELECT occupancy.end_refresh($1, true)", first)
    assert not await connection.fetchval(take, second, timedelta(minutes=1)), "one has just ended"
    assert await connection.fetchval(take, second, NEVER)


async def test_a_refresher_that_lost_its_lease_is_stopped(connection: asyncpg.Connection) -> None:
    frozen, successor = uuid4(), uuid4()
    assert await connection.fetchval("SELECT occupancy.take_refresh($1, $2)", frozen, NEVER)
    await connection.execute(
        "UPDATE occupancy.refresher SET held_until = clock_timestamp() - INTERVAL '1 second'"
    )
    assert await connection.fetchval("SELECT occupancy.take_refresh($1, $2)", successor, NEVER)
    for step in (
        "claim_stale($1)",
        "move_horizon($1, '0')",
        "repair_next($1, '1 day')",
        "materialize_next($1, '1 day')",
    ):
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="took over"):
            await connection.fetchval(f"SELECT occupancy.{step}", frozen)


async def test_a_clock_that_was_ahead_is_got_over(
    connection: asyncpg.Connection, database: Database, settings: Settings
) -> None:
    spaces = await _some_days(connection)
    await connection.execute('CALL occupancy.refresh_aggregates(0, \'{"lag": "-365 days"}\')')
    assert await connection.fetchval(
        "SELECT read_before > now() + INTERVAL '300 days' FROM occupancy.horizon"
    )
    await connection.execute("UPDATE occupancy.refresher SET refreshed_at = now() + INTERVAL '1 year'")
    assert await Refresher(database, settings).run_once()
    assert await connection.fetchval(
        "SELECT greatest(write_before, read_before) <= now() FROM occupancy.horizon"
    )
    await connection.execute(
        "SELECT * FROM occupancy.ingest_crossings(1, '{283}', ARRAY[now()], '{1}'::smallint[], '{0}'::bigint[])"
    )
    assert await connection.fetchval("SELECT count(*) FROM occupancy.stale") == 0, (
        "what is in time is not late"
    )
    net = "SELECT (occupancy.count_at($1, now())).net = (occupancy.recount_at($1, now())).net"
    assert await connection.fetchval(net, spaces[0])


async def test_months_without_an_event_are_one_step(
    connection: asyncpg.Connection, database: Database, settings: Settings
) -> None:
    space_a, _ = await two_rooms(connection)
    times = [START, START + timedelta(days=250)]
    await connection.execute(
        "SELECT * FROM occupancy.ingest_crossings(1, '{283,283}', $1, '{1,1}'::smallint[], '{0,0}'::bigint[])",
        times,
    )
    progress: list[Progress] = []
    await Refresher(database, settings).run_once(report=progress.append)
    steps = [step.read_before for step in progress if step.phase == "materialize"]
    # Of a day each in the two weeks with a chunk; what lies before, between and behind them is one each.
    assert len(steps) <= 2 * 7 + 3
    assert max(later - earlier for earlier, later in pairwise(steps)) > timedelta(days=200)
    assert steps[-1] == progress[-1].write_before
    assert await check(database, None, None, None, lambda _done, _all: None) == []
    for at, people in ((times[0], 1), (times[1] - timedelta(days=1), 1), (times[1], 2)):
        assert await connection.fetchval("SELECT net FROM occupancy.count_at($1, $2)", space_a, at) == people


@pytest.mark.parametrize("step", ["repair_next", "materialize_next"])
async def test_a_step_less_than_a_bucket_is_refused(connection: asyncpg.Connection, step: str) -> None:
    holder = uuid4()
    await connection.execute("SELECT occupancy.take_refresh($1, '0')", holder)
    with pytest.raises(asyncpg.InvalidParameterValueError, match="less than a bucket"):
        await connection.execute(f"SELECT occupancy.{step}($1, '14 minutes')", holder)


async def test_an_unknown_space_has_no_count(connection: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.NoDataFoundError, match="no space 999"):
        await connection.fetchrow("SELECT * FROM occupancy.count_at(999, now())")


async def test_a_crossing_at_the_instant_of_a_reset_was_before_it(
    connection: asyncpg.Connection, database: Database, settings: Settings
) -> None:
    """Also where a bucket begins at that instant: it holds the crossing, so it may not be taken whole."""
    space_a, _ = await two_rooms(connection)
    at = START + timedelta(minutes=30)
    await connection.execute(
        "SELECT * FROM occupancy.ingest_crossings(1, '{283,283}', $1, '{1,1}'::smallint[], '{0,0}'::bigint[])",
        [at, at + timedelta(minutes=5)],
    )
    await connection.execute("INSERT INTO occupancy.reset (space, at, count) VALUES ($1, $2, 7)", space_a, at)
    await Refresher(database, settings).run_once()
    net = "SELECT net FROM occupancy.count_at($1, $2)"
    for later, people in ((timedelta(0), 7), (timedelta(minutes=5), 8), (timedelta(hours=2), 8)):
        assert await connection.fetchval(net, space_a, at + later) == people


async def test_the_job_does_the_same_in_one_call(connection: asyncpg.Connection, database: Database) -> None:
    await _some_days(connection)
    await connection.execute('CALL occupancy.refresh_aggregates(0, \'{"lag": "0"}\')')
    behind = await connection.fetchval("SELECT clock_timestamp() - read_before FROM occupancy.horizon")
    assert behind < timedelta(minutes=16)
    assert await check(database, None, None, None, lambda _done, _all: None) == []
    assert await connection.fetchval("SELECT holder IS NULL FROM occupancy.refresher")


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
async def test_the_time_zone_of_a_session_changes_nothing(
    connection: asyncpg.Connection, database: Database, settings: Settings, zone: str
) -> None:
    """A BI tool's session has its own; New York's day of 23 hours lies in the range."""
    spaces = await _some_days(connection)
    await connection.execute(f"SET timezone = '{zone}'")
    await connection.execute("CALL occupancy.refresh_aggregates()")
    await _send(connection, 50, seed=3)
    await connection.execute("CALL occupancy.refresh_aggregates()")
    differing = await connection.fetchval(
        """
        SELECT count(*)
        FROM unnest($1::int[]) AS space
        CROSS JOIN generate_series($2::timestamptz, $3, INTERVAL '7 hours 15 minutes') AS at
        WHERE (occupancy.count_at(space, at)).net <> (occupancy.recount_at(space, at)).net
        """,
        list(spaces),
        START,
        END,
    )
    assert differing == 0
    assert await check(database, None, None, None, lambda _done, _all: None) == []


@pytest.mark.parametrize(
    ("reset_at", "zone", "at", "expected"),
    [
        ("04:00", "UTC", "2026-03-02T03:59:59Z", "2026-03-01T04:00:00Z"),
        ("04:00", "UTC", "2026-03-02T04:00:00Z", "2026-03-02T04:00:00Z"),
        ("04:00", "Europe/Berlin", "2026-03-02T12:00:00Z", "2026-03-02T03:00:00Z"),
        ("04:00", "Europe/Berlin", "2026-07-02T12:00:00Z", "2026-07-02T02:00:00Z"),
        # 02:30 is skipped on 29 March and comes twice on 25 October
        ("02:30", "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-29T01:30:00Z"),
        ("02:30", "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-25T01:30:00Z"),
        ("02:30", "Europe/Berlin", "2026-10-25T00:45:00Z", "2026-10-24T00:30:00Z"),
        # Apia had no 30 December 2011
        ("10:00", "Pacific/Apia", "2011-12-31T00:00:00Z", "2011-12-30T20:00:00Z"),
        ("23:00", "Pacific/Apia", "2011-12-30T20:00:00Z", "2011-12-30T09:00:00Z"),
    ],
)
async def test_the_daily_reset_follows_local_clocks(
    connection: asyncpg.Connection, reset_at: str, zone: str, at: str, expected: str
) -> None:
    found = await connection.fetchval(
        "SELECT occupancy.latest_daily_reset($1::text::time, $2, $3)",
        reset_at,
        zone,
        datetime.fromisoformat(at),
    )
    assert found == datetime.fromisoformat(expected)


async def test_writing_at_another_isolation_level_is_refused(connection: asyncpg.Connection) -> None:
    await two_rooms(connection)
    async with connection.transaction(isolation="repeatable_read"):
        with pytest.raises(asyncpg.InvalidTransactionStateError, match="read committed"):
            await connection.execute(
                "SELECT occupancy.ingest_crossings(1, $1, $2, $3, $4)", ["283"], [START], [1], [0]
            )
