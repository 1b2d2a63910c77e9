"""Bytes per stored event, of crossings and aggregates, before and after compression; and what late events cost then."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.databases import Connection, machine_facts, own_database, refresh_up_to

DPUS = 200
ROOMS_PER_FLOOR = 10
DAYS = 14
# Chunks of crossings begin on Thursdays; so long ago that those of the aggregates, of 90 days, have ended too.
CHUNK = timedelta(days=7)
A_THURSDAY = datetime(2026, 3, 5, tzinfo=UTC)
START = A_THURSDAY + (datetime.now(UTC) - timedelta(days=200) - A_THURSDAY) // CHUNK * CHUNK
AGGREGATED_UNTIL = START + timedelta(days=190)
# a batch of events that come late, each of its own minute, of all DPUs by turns
LATE = 1000
EVENTS_A_DAY_AT_FULL_SIZE = 147_000_000

# Rooms in a ring, a door with a DPU between neighbours; floors of ten rooms, one building.
TOPOLOGY = (
    """INSERT INTO occupancy.space (organization, space_id, name, kind)
       VALUES (1, 'building', 'Building', 'building')""",
    f"""INSERT INTO occupancy.space (organization, space_id, name, kind, parent)
        SELECT 1, 'floor-' || i, 'Floor ' || i, 'floor', 1 FROM generate_series(1, {DPUS // ROOMS_PER_FLOOR}) AS i""",
    f"""INSERT INTO occupancy.space (organization, space_id, name, kind, parent)
        SELECT 1, 'room-' || i, 'Room ' || i, 'room', 2 + (i - 1) / {ROOMS_PER_FLOOR}
        FROM generate_series(1, {DPUS}) AS i""",
    f"""INSERT INTO occupancy.doorway (organization, doorway_id, name, side_a, side_b)
        SELECT 1, 'door-' || i, 'Door ' || i, room.id, next_room.id
        FROM generate_series(1, {DPUS}) AS i
        JOIN occupancy.space AS room ON room.space_id = 'room-' || i
        JOIN occupancy.space AS next_room ON next_room.space_id = 'room-' || i % {DPUS} + 1""",
    f"""INSERT INTO occupancy.dpu (organization, dpu_id, name)
        SELECT 1, 'dpu-' || i, 'DPU ' || i FROM generate_series(1, {DPUS}) AS i""",
    """INSERT INTO occupancy.placement (organization, dpu, doorway, facing)
       SELECT 1, dpu.id, doorway.id, 'a' FROM occupancy.dpu JOIN occupancy.doorway ON doorway.id = dpu.id""",
)
# One event a minute and DPU at any millisecond of it, numbered by the device, stored up to two seconds later; in the
# order in which they come, as a service would store them.
LOAD_DAY = f"""
INSERT INTO occupancy.crossing (time, dpu, seq, direction, delay)
SELECT event.time, event.dpu, event.minute, CASE WHEN random() < 0.5 THEN 1 ELSE -1 END, (random() * 2 - 0.5)::integer
FROM (
  SELECT dpu, minute, $1::timestamptz + minute * INTERVAL '1 minute'
    + floor(random() * 60000) * INTERVAL '1 millisecond' AS time
  FROM generate_series($2::integer, $2::integer + 1439) AS minute, generate_series(1, {DPUS}) AS dpu
) AS event
ORDER BY event.time
"""
# With TOAST and the columnstore's own tables: whatever lies on the disk for it.
SIZES = """
SELECT stored.holds, stored.chunk_start, stored.compressed,
  pg_table_size(stored.chunk) AS heap, pg_indexes_size(stored.chunk) AS indexes,
  coalesce(compressed.bytes, 0)::bigint AS columnstore
FROM occupancy.stored_chunks() AS stored
LEFT JOIN LATERAL (
  SELECT after_compression_total_bytes AS bytes
  FROM (
    VALUES ('crossing', 'occupancy.crossing'::regclass), ('flow_15m', occupancy.flow_table('15m'))
  ) AS of (holds, relation)
  CROSS JOIN LATERAL chunk_columnstore_stats(of.relation) AS stats
  WHERE of.holds = stored.holds AND format('%I.%I', stats.chunk_schema, stats.chunk_name)::regclass = stored.chunk
) AS compressed ON stored.compressed
ORDER BY 1, 2
"""
OTHERS = """
SELECT name, (SELECT sum(pg_total_relation_size(c)) FROM show_chunks(occupancy.flow_table(name)) AS c)::bigint AS bytes
FROM unnest(ARRAY['1d', '30d']) AS name
"""


@dataclass(frozen=True)
class Sizes:
    """What lies on the disk, in bytes."""

    crossing_heap: int
    crossing_indexes: int
    crossing_columnstore: int
    flow_15m: int
    flow_1d: int
    flow_30d: int

    def per_event(self, events: int) -> dict[str, float]:
        """Each of them, and all, in bytes per event."""
        crossing = self.crossing_heap + self.crossing_indexes + self.crossing_columnstore
        aggregates = self.flow_15m + self.flow_1d + self.flow_30d
        figures = {
            "crossing_heap": self.crossing_heap,
            "crossing_indexes": self.crossing_indexes,
            "crossing_columnstore": self.crossing_columnstore,
            "flow_15m": self.flow_15m,
            "flow_1d": self.flow_1d,
            "flow_30d": self.flow_30d,
            "crossings": crossing,
            "aggregates": aggregates,
            "all": crossing + aggregates,
        }
        return {name: round(size / events, 3) for name, size in figures.items()}


async def run(server_url: str, results: Path, *, keep: bool = False) -> None:
    """Load two chunks, aggregate, compress by the product's own steps, and weigh what lies there before and after."""
    async with own_database(server_url, "bench_storage", keep=keep) as url:
        connection = await asyncpg.connect(url, command_timeout=3600)
        try:
            await _load(connection)
            events: int = await connection.fetchval("SELECT count(*) FROM occupancy.crossing")
            rows = await connection.fetchrow(
                "SELECT (SELECT count(*) FROM occupancy.flow_15m) AS flow_15m, "
                "(SELECT count(*) FROM occupancy.flow_1d) AS flow_1d, "
                "(SELECT count(*) FROM occupancy.flow_30d) AS flow_30d"
            )
            assert rows is not None
            before = await _sizes(connection)
            rows_times = await _timings(connection, 1)
            seconds = await _compress(connection)
            after = await _sizes(connection)
            columns_times = await _timings(connection, 2)
            again = await _compress(connection)
            wrong = await _wrong_counts(connection)
        finally:
            await connection.close()
        facts = await machine_facts(server_url)
    compressed = after.per_event(events)
    report: dict[str, Any] = {
        "machine": facts,
        "setting": f"{DPUS} DPUs, a room each in a ring, floors of {ROOMS_PER_FLOOR}; {DAYS} days at one event a "
        "minute, times to the millisecond, seq of the device, stored up to 2 s later",
        "events": events,
        "rows": dict(rows),
        "bytes_per_event_before": before.per_event(events),
        "bytes_per_event_after": compressed,
        "bytes_per_row_of_flow_15m": {
            "before": round(before.flow_15m / rows["flow_15m"], 2),
            "after": round(after.flow_15m / rows["flow_15m"], 2),
        },
        "gigabytes_a_day_at_full_size": round(compressed["all"] * EVENTS_A_DAY_AT_FULL_SIZE / 1e9, 3),
        "crossings_compressed_per_second": {
            name: round(events / DAYS * 7 / value)
            for name, value in seconds.items()
            if name.startswith("crossing")
        },
        "milliseconds": {
            name: {"rows": value, "columns": columns_times[name]} for name, value in rows_times.items()
        },
        "seconds_to_compress_what_came_late": round(sum(again.values()), 2),
        "wrong_counts_of_50": wrong,
    }
    print(json.dumps(report, indent=2))
    _write_result(report, results)


def _write_result(report: dict[str, Any], results: Path) -> None:
    results.mkdir(parents=True, exist_ok=True)
    (results / "storage.json").write_text(json.dumps(report, indent=2) + "\n")


async def _load(connection: Connection) -> None:
    began = time.perf_counter()
    for command in TOPOLOGY:
        await connection.execute(command)
    for day in range(DAYS):
        await connection.execute(LOAD_DAY, START, day * 1440)
    await connection.execute("ANALYZE occupancy.crossing")
    print(f"crossings: {time.perf_counter() - began:.0f} s")
    await refresh_up_to(connection, START + timedelta(days=DAYS), step="1 day")
    await refresh_up_to(connection, AGGREGATED_UNTIL)
    await connection.execute("VACUUM ANALYZE")
    print(f"aggregates: {time.perf_counter() - began:.0f} s")


async def _sizes(connection: Connection) -> Sizes:
    # pages that a rewrite has left, and those that the visibility map takes
    await connection.execute("VACUUM")
    chunks = await connection.fetch(SIZES)
    others = {row["name"]: row["bytes"] for row in await connection.fetch(OTHERS)}

    def total(holds: str, *columns: str) -> int:
        return sum(row[column] for row in chunks if row["holds"] == holds for column in columns)

    return Sizes(
        crossing_heap=total("crossing", "heap"),
        crossing_indexes=total("crossing", "indexes"),
        crossing_columnstore=total("crossing", "columnstore"),
        flow_15m=total("flow_15m", "heap", "indexes", "columnstore"),
        flow_1d=others["1d"],
        flow_30d=others["30d"],
    )


async def _compress(connection: Connection) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for row in await connection.fetch(
        "SELECT chunk, chunk::text AS name FROM occupancy.chunks_to_compress() AS chunk"
    ):
        holds = await connection.fetchval(
            "SELECT holds FROM occupancy.stored_chunks() AS stored WHERE stored.chunk::text = $1", row["name"]
        )
        began = time.perf_counter()
        await connection.execute("SELECT occupancy.compress_one($1::text::regclass)", row["name"])
        seconds[f"{holds} {len(seconds) + 1}"] = time.perf_counter() - began
    return seconds


async def _timings(connection: Connection, number: int) -> dict[str, float]:
    """Milliseconds of what reaches back into the first three days: medians, and single statements of late events."""
    late = [
        [f"dpu-{1 + event % DPUS}" for event in range(LATE)],
        [START + event * timedelta(minutes=4) + timedelta(microseconds=number) for event in range(LATE)],
        [1] * LATE,
        [0] * LATE,
    ]
    times = {
        "count_at": await _median(connection, "SELECT * FROM occupancy.count_at($1, $2)", _an_instant),
        "series_of_a_day_by_hour": await _median(
            connection,
            "SELECT * FROM occupancy.series("
            "ARRAY[$1::integer], $2::timestamptz, $2::timestamptz + INTERVAL '1 day', INTERVAL '1 hour')",
            _a_day,
        ),
        "page_of_100_events": await _median(
            connection,
            "SELECT * FROM occupancy.events_of_space("
            "$1, $2::timestamptz, $2::timestamptz + INTERVAL '1 day', NULL, NULL, NULL, 100, false)",
            _an_instant,
        ),
    }
    for name in ("1000_late_events", "the_same_1000_again"):
        began = time.perf_counter()
        await connection.fetch("SELECT * FROM occupancy.ingest_crossings(1, $1, $2, $3, $4)", *late)
        times[name] = time.perf_counter() - began
    times["count_at_before_the_repair"] = await _median(
        connection, "SELECT * FROM occupancy.count_at($1, $2)", _an_instant, rounds=9
    )
    began = time.perf_counter()
    await refresh_up_to(connection, AGGREGATED_UNTIL)
    times["repair_of_1000_late_events"] = time.perf_counter() - began
    return {name: round(value * 1000, 2) for name, value in times.items()}


def _an_instant() -> tuple[int, datetime]:
    return random.randrange(2, DPUS + DPUS // ROOMS_PER_FLOOR), START + random.random() * timedelta(days=3)


def _a_day() -> tuple[int, datetime]:
    return _an_instant()[0], START + timedelta(days=random.randrange(3))


async def _median(
    connection: Connection, statement: str, question: Callable[[], tuple[int, datetime]], rounds: int = 200
) -> float:
    times = []
    for _ in range(rounds):
        asked = question()
        began = time.perf_counter()
        await connection.fetch(statement, *asked)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


async def _wrong_counts(connection: Connection) -> int:
    wrong: int = await connection.fetchval(
        """
        SELECT count(*)
        FROM generate_series(1, 50) AS i
        CROSS JOIN LATERAL (
          SELECT 1 + (random() * 220)::integer AS space, $1::timestamptz + random() * $2::interval AS at OFFSET 0
        ) AS asked
        CROSS JOIN LATERAL occupancy.count_at(asked.space, asked.at) AS quick
        CROSS JOIN LATERAL occupancy.recount_at(asked.space, asked.at) AS slow
        WHERE (quick.net, quick.entries, quick.exits) IS DISTINCT FROM (slow.net, slow.entries, slow.exits)
        """,
        START,
        timedelta(days=DAYS),
    )
    return wrong


def main(server_url: str, results: Path, *, keep: bool) -> None:
    asyncio.run(run(server_url, results, keep=keep))
