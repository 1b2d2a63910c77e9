"""What a count reads: by the plans of the statements in it, and by what the database counted while it ran."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.effort import examples
from tests.sql.building import two_rooms

# 20 weeks of events, a bucket of 30 days whole in them; the horizon is in the middle of the last day.
NOW = datetime(2026, 6, 30, 12, 20, tzinfo=UTC)
HORIZON = datetime(2026, 6, 30, 12, 15, tzinfo=UTC)
PAST = datetime(2026, 5, 5, 9, 52, tzinfo=UTC)


@pytest.fixture
async def room(connection: asyncpg.Connection) -> int:
    """Space A with an event every two days for 20 weeks and one a minute in the last half hour; refreshed."""
    space_a, _ = await two_rooms(connection)
    times = [NOW - timedelta(days=2 * step, seconds=1) for step in range(70)]
    times += [NOW - timedelta(minutes=minute) for minute in range(30)]
    times += [PAST - timedelta(minutes=minute) for minute in range(30)]
    # just outside the quarters that are asked for, so that reading one too many shows
    times += [day.replace(hour=0, minute=0) - timedelta(minutes=10) for day in (NOW, PAST)]
    await connection.execute(
        "SELECT * FROM occupancy.ingest_crossings(1, array_fill('283'::text, ARRAY[$1::int]), $2, $3, $4)",
        len(times),
        times,
        [1] * len(times),
        list(range(len(times))),
    )
    lag = await connection.fetchval("SELECT (clock_timestamp() - $1::timestamptz)::text", HORIZON)
    await connection.execute(
        f"CALL occupancy.refresh_aggregates(0, '{json.dumps({'lag': lag})}')",
    )
    assert await connection.fetchval("SELECT read_before FROM occupancy.horizon") == HORIZON
    return space_a


async def _chunks(connection: asyncpg.Connection) -> dict[str, tuple[datetime, datetime]]:
    rows = await connection.fetch(
        "SELECT chunk_name, range_start, range_end FROM timescaledb_information.chunks "
        "WHERE hypertable_name = 'crossing'"
    )
    return {row["chunk_name"]: (row["range_start"], row["range_end"]) for row in rows}


async def _statement(connection: asyncpg.Connection, function: str, table: str) -> str:
    """The statement in a function that reads this table, without its INTO, ready to be prepared."""
    source = await connection.fetchval(
        "SELECT prosrc FROM pg_proc WHERE oid = $1::regproc", f"occupancy.{function}"
    )
    (found,) = [part for part in source.split(";") if f"FROM occupancy.{table}" in part]
    statement = found[found.index("SELECT") :]
    return re.sub(r"INTO [a-z_, ]+?(?=\s+FROM)", "", statement)


async def _explain(
    connection: asyncpg.Connection, statement: str, values: dict[str, str], mode: str
) -> dict[str, Any]:
    for number, variable in enumerate(values, 1):
        statement = statement.replace(variable, f"${number}")
    await connection.execute(f"SET plan_cache_mode = {mode}")
    # Tables as small as a test's are otherwise read whole.
    await connection.execute("SET enable_seqscan = off")
    await connection.execute("SET enable_bitmapscan = off")
    name = f"counted_{uuid4().hex}"
    types = ", ".join("integer" if "space" in variable else "timestamptz" for variable in values)
    await connection.execute(f"PREPARE {name} ({types}) AS {statement}")
    literals = ", ".join(f"'{value}'" for value in values.values())
    plan = json.loads(
        await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {name} ({literals})")
    )
    top: dict[str, Any] = plan[0]["Plan"]
    return top


def _scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    below = node.get("Plans", [])
    # TimescaleDB's own node above the scans of chunks names the hypertable
    if "Relation Name" in node and not below:
        yield node
    for child in below:
        yield from _scans(child)


@pytest.mark.parametrize(("at", "from_time"), [(NOW, HORIZON), (PAST, PAST - timedelta(minutes=7))])
async def test_the_tail_touches_no_chunk_before_the_horizon(
    connection: asyncpg.Connection, room: int, at: datetime, from_time: datetime
) -> None:
    statement = await _statement(connection, "flow_of_recent_crossings", "effect")
    # the clause for generic plans is about the real now
    statement = statement.replace("AND crossing.time >= now() - INTERVAL '48 hours'", "")
    plan = await _explain(
        connection,
        statement,
        {
            "flow_of_recent_crossings.space": str(room),
            "flow_of_recent_crossings.from_time": from_time.isoformat(),
            "flow_of_recent_crossings.to_time": (at + timedelta(microseconds=1)).isoformat(),
        },
        "force_custom_plan",
    )
    chunks = await _chunks(connection)
    assert len(chunks) > 15
    read = [scan for scan in _scans(plan) if scan["Relation Name"] in chunks]
    assert read
    for scan in read:
        start, end = chunks[scan["Relation Name"]]
        assert start <= at
        assert end > from_time
        assert scan["Node Type"] in {"Index Scan", "Index Only Scan"}
        assert "crossing_is_stored_once" in scan["Index Name"]


@pytest.mark.parametrize("at", [NOW, PAST])
async def test_each_level_is_read_by_index_and_only_where_asked(
    connection: asyncpg.Connection, room: int, at: datetime
) -> None:
    whole = await connection.fetchrow(
        "SELECT * FROM occupancy.whole_buckets('-infinity', $1)", min(at, HORIZON)
    )
    assert whole is not None
    ranges = {"flow_30d": ("months_from", "months_to"), "flow_15m": ("days_to", "quarters_to")}
    for level, (start, end) in ranges.items():
        source = await connection.fetchval("SELECT prosrc FROM pg_proc WHERE proname = 'flow_of_buckets'")
        (found,) = [
            part
            for part in source.split(";")
            if f"FROM occupancy.{level}" in part and f"whole.{end}" in part and "now()" not in part
        ]
        statement = re.sub(r"INTO part", "", found[found.index("SELECT") :])
        values = {
            "flow_of_buckets.space": str(room),
            f"whole.{start}": _text(whole[start]),
            f"whole.{end}": _text(whole[end]),
        }
        plan = await _explain(connection, statement, values, "force_generic_plan")
        scans = [scan for scan in _scans(plan) if scan["Actual Loops"]]
        expected = await connection.fetchval(
            f"SELECT count(*) FROM occupancy.{level} WHERE space = $1 AND bucket >= $2 AND bucket < $3",
            room,
            whole[start],
            whole[end],
        )
        assert sum(scan["Actual Rows"] for scan in scans) == expected > 0
        assert {scan["Node Type"] for scan in scans} <= {"Index Scan", "Index Only Scan"}


def _text(instant: datetime) -> str:
    return "-infinity" if instant.year == 1 else instant.isoformat()


_READS = """
    SELECT relation.relname AS name, coalesce(parent.kind, '') AS kind,
      sum(pg_stat_get_xact_numscans(indexes.indexrelid)) AS scans,
      sum(pg_stat_get_xact_tuples_returned(indexes.indexrelid)) AS entries,
      pg_stat_get_xact_numscans(relation.oid) AS full_scans
    FROM timescaledb_information.chunks
    JOIN pg_class AS relation ON relation.oid = format('%I.%I', chunk_schema, chunk_name)::regclass
    JOIN pg_index AS indexes ON indexes.indrelid = relation.oid
    CROSS JOIN LATERAL (
      SELECT CASE WHEN hypertable_name = 'crossing' THEN 'crossing' ELSE 'flow' END AS kind
    ) AS parent
    GROUP BY 1, 2, relation.oid
"""


async def _read_by(
    connection: asyncpg.Connection, ask: str, *arguments: Any
) -> tuple[list[asyncpg.Record], dict[str, dict[str, int]]]:
    """The answer, and by kind (crossing, flow) how many index entries of each chunk were read for it.

    As the database counted it within the transaction. Chunks are read by index only.
    """
    await connection.fetch(ask, *arguments)
    async with connection.transaction():
        before = {row["name"]: row for row in await connection.fetch(_READS)}
        answer = await connection.fetch(ask, *arguments)
        after = {row["name"]: row for row in await connection.fetch(_READS)}
    assert all(after[name]["full_scans"] == before[name]["full_scans"] for name in after)
    used: dict[str, dict[str, int]] = {"crossing": {}, "flow": {}}
    for name, row in after.items():
        if row["scans"] > before[name]["scans"]:
            used[row["kind"]][name] = row["entries"] - before[name]["entries"]
    return answer, used


@pytest.mark.parametrize(
    ("width", "zone", "start", "end", "buckets"),
    [
        ("1 day", "UTC", "2026-03-01T00:00Z", "2026-06-29T00:00Z", 120),
        ("1 day", "Europe/Berlin", "2026-03-01T00:00+01:00", "2026-06-29T00:00+02:00", 120),
        ("15 minutes", "Asia/Kolkata", "2026-05-01T00:00+05:30", "2026-06-30T00:00+05:30", 60 * 96),
        ("1 month", "Europe/Berlin", "2026-03-01T00:00+01:00", "2026-06-01T00:00+02:00", 3),
    ],
)
async def test_a_series_reads_no_crossing_before_the_horizon(
    connection: asyncpg.Connection, room: int, width: str, zone: str, start: str, end: str, buckets: int
) -> None:
    answer, used = await _read_by(
        connection,
        "SELECT * FROM occupancy.series($1, $2, $3, $4::text::interval, $5)",
        [room],
        datetime.fromisoformat(start),
        datetime.fromisoformat(end),
        width,
        zone,
    )
    assert len(answer) == buckets
    assert used["crossing"] == {}
    assert sum(used["flow"].values()) > 10


async def test_a_series_reads_only_the_crossings_of_quarters_that_it_divides(
    connection: asyncpg.Connection, room: int
) -> None:
    ask = "SELECT * FROM occupancy.series($1, $2, $3, '5 minutes', 'UTC')"
    start = PAST.replace(minute=30)
    answer, used = await _read_by(connection, ask, [room], start, start + timedelta(minutes=30))
    assert len(answer) == 6
    stored = await connection.fetchval(
        "SELECT count(*) FROM occupancy.crossing WHERE time >= $1 AND time < $2",
        start,
        start + timedelta(minutes=30),
    )
    assert sum(used["crossing"].values()) == stored > 20


async def test_a_marked_quarter_is_read_from_crossings_and_no_other(
    connection: asyncpg.Connection, room: int
) -> None:
    late = PAST.replace(minute=31)
    await connection.execute(
        "SELECT * FROM occupancy.ingest_crossings(1, '{283}', $1, '{-1}'::smallint[], '{99}'::bigint[])",
        [late],
    )
    ask = "SELECT * FROM occupancy.series($1, $2, $3, '1 day', 'UTC')"
    _, used = await _read_by(
        connection, ask, [room], datetime(2026, 3, 1, tzinfo=UTC), HORIZON.replace(hour=0, minute=0)
    )
    stored = await connection.fetchval(
        "SELECT count(*) FROM occupancy.crossing WHERE time >= $1 AND time < $1 + INTERVAL '15 minutes'",
        PAST.replace(minute=30),
    )
    assert sum(used["crossing"].values()) == stored > 10


@pytest.mark.parametrize("at", [NOW, PAST], ids=["now", "past"])
async def test_a_count_reads_each_bucket_and_each_tail_crossing_once(
    connection: asyncpg.Connection, room: int, at: datetime
) -> None:
    """As the database counted it: index scans of chunks, and index entries read, within the transaction."""
    chunks = await _chunks(connection)
    (answer,), used = await _read_by(connection, "SELECT * FROM occupancy.count_at($1, $2)", room, at)
    raw = used["crossing"]
    tail_from = answer["aggregated_until"].replace(
        minute=answer["aggregated_until"].minute // 15 * 15, second=0
    )
    assert raw
    assert all(chunks[name][0] <= at and chunks[name][1] > tail_from for name in raw)
    assert sum(raw.values()) == answer["tail_crossings"] > 0

    whole = await connection.fetchrow(
        "SELECT * FROM occupancy.whole_buckets('-infinity', $1)", min(at, HORIZON)
    )
    assert whole is not None
    buckets = await connection.fetchval(
        """
        SELECT (SELECT count(*) FROM occupancy.flow_30d WHERE space = $1 AND bucket < $2)
          + (SELECT count(*) FROM occupancy.flow_1d WHERE space = $1 AND bucket >= $2 AND bucket < $3)
          + (SELECT count(*) FROM occupancy.flow_15m WHERE space = $1 AND bucket >= $3 AND bucket < $4)
        """,
        room,
        whole["months_to"],
        whole["days_to"],
        whole["quarters_to"],
    )
    assert sum(used["flow"].values()) == buckets > 3


_instants = st.datetimes(datetime(2019, 12, 20), datetime(2020, 4, 20)).map(lambda t: t.replace(tzinfo=UTC))  # noqa: DTZ001


@given(after_time=st.none() | _instants, until_time=_instants)
@settings(
    max_examples=examples(80), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_whole_buckets_cover_the_range_once(
    connection: asyncpg.Connection, after_time: datetime | None, until_time: datetime
) -> None:
    whole = await connection.fetchrow(
        "SELECT * FROM occupancy.whole_buckets(coalesce($1, '-infinity'::timestamptz), $2)",
        after_time,
        until_time,
    )
    assert whole is not None
    edges = [
        # the driver gives -infinity without a zone
        whole[name].replace(tzinfo=UTC)
        for name in ("quarters_from", "days_from", "months_from", "months_to", "days_to", "quarters_to")
    ]
    assert edges == sorted(edges), "ranges that follow one another cannot overlap"
    widths = [
        timedelta(minutes=15),
        timedelta(days=1),
        timedelta(days=30),
        timedelta(days=1),
        timedelta(minutes=15),
    ]
    origin = datetime(2000, 1, 3, tzinfo=UTC)
    for start, end, width in zip(edges, edges[1:], widths, strict=False):
        if start < end:
            assert start.year == 1 or (start - origin) % width == timedelta(0)
            assert (end - origin) % width == timedelta(0)
    if edges[0] < edges[-1]:
        assert after_time is None or after_time < edges[0] <= after_time + timedelta(minutes=15)
        assert until_time - timedelta(minutes=15) < edges[-1] <= until_time
    elif after_time is not None and until_time > after_time:
        assert until_time - after_time < timedelta(minutes=30)
