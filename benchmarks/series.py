"""Series against the same from raw events, and from a real-time continuous aggregate with window functions."""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.count_at import SPACES, TOPOLOGY
from benchmarks.databases import Connection, machine_facts, own_database, refresh_up_to

# Room 1 is busy for a year, all rooms for the last two days: one event a minute from each DPU.
BUSY_DPUS = (1, SPACES)
YEAR = timedelta(days=365)
LAST_DAYS = timedelta(days=2)
TAIL = timedelta(minutes=10)
LOAD = """
INSERT INTO occupancy.crossing (time, dpu, direction)
SELECT $1::timestamptz + (minute + random() * 0.99) * INTERVAL '1 minute', dpu,
  CASE WHEN random() < 0.5 THEN 1 ELSE -1 END
FROM generate_series(0, $2::integer - 1) AS minute, unnest($3::integer[]) AS dpu
ON CONFLICT DO NOTHING
"""

OURS = "SELECT * FROM occupancy.series($1, $2, $3, $4::text::interval, 'UTC') ORDER BY space, bucket_start"

# The edges of buckets are changes by nothing: then every value lasts from one row to the next.
RAW = """
WITH change AS (
  SELECT effect.space, crossing.time, crossing.direction * effect.sign AS net, 1 AS crossings
  FROM occupancy.effect
  JOIN occupancy.crossing ON crossing.dpu = effect.dpu
    AND crossing.time >= effect.valid_from AND crossing.time < effect.valid_to
  WHERE effect.space = ANY ($1) AND crossing.time < $3
  UNION ALL
  SELECT space, edge, 0, 0
  FROM unnest($1) AS space, generate_series($2::timestamptz, $3 - INTERVAL '1 second', $4::text::interval) AS edge
), instant AS (
  SELECT space, time, sum(net) AS net, sum(crossings) FILTER (WHERE net > 0) AS entries,
    sum(crossings) FILTER (WHERE net < 0) AS exits
  FROM change
  GROUP BY space, time
), course AS (
  SELECT space, time, entries, exits, sum(net) OVER moments AS net,
    date_part('epoch', lead(time, 1, $3) OVER moments - time) AS seconds
  FROM instant
  WINDOW moments AS (PARTITION BY space ORDER BY time)
)
SELECT space, time_bucket($4::text::interval, time) AS bucket_start,
  (array_agg(net ORDER BY time))[1] AS first, (array_agg(net ORDER BY time DESC))[1] AS last,
  min(net) AS min, max(net) AS max, sum(net * seconds) / sum(seconds) AS mean,
  coalesce(sum(entries), 0) AS entries, coalesce(sum(exits), 0) AS exits
FROM course
WHERE time >= $2
GROUP BY 1, 2
ORDER BY 1, 2
"""

# What TimescaleDB offers by itself: counts at the edges of buckets, neither the peak nor the mean within them.
PEER_AGGREGATE = """
CREATE MATERIALIZED VIEW peer_15m WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT effect.space, time_bucket(INTERVAL '15 minutes', crossing.time) AS bucket,
  count(*) FILTER (WHERE crossing.direction * effect.sign > 0) AS entries,
  count(*) FILTER (WHERE crossing.direction * effect.sign < 0) AS exits
FROM occupancy.crossing
JOIN occupancy.effect ON effect.dpu = crossing.dpu
  AND crossing.time >= effect.valid_from AND crossing.time < effect.valid_to
GROUP BY 1, 2
WITH NO DATA
"""
PEER = """
WITH flow AS (
  SELECT space, time_bucket($4::text::interval, bucket) AS bucket, sum(entries) AS entries, sum(exits) AS exits
  FROM peer_15m
  WHERE space = ANY ($1) AND bucket < $3
  GROUP BY 1, 2
), course AS (
  SELECT space, bucket, entries, exits,
    sum(entries - exits) OVER (PARTITION BY space ORDER BY bucket) AS last
  FROM flow
)
SELECT space, edge AS bucket_start, course.last - course.entries + course.exits AS first, course.last,
  course.entries, course.exits
FROM unnest($1) AS space
CROSS JOIN generate_series($2::timestamptz, $3 - INTERVAL '1 second', $4::text::interval) AS edge
LEFT JOIN course USING (space)
WHERE course.bucket = edge
ORDER BY 1, 2
"""
CONTENDERS = {"series": OURS, "raw events": RAW, "real-time aggregate": PEER}


@dataclass
class Question:
    """A range of buckets for some spaces, and what was measured of each contender, in milliseconds."""

    name: str
    spaces: Sequence[int]
    start: datetime
    end: datetime
    width: str
    server: dict[str, list[float]] = field(default_factory=dict)
    client: dict[str, list[float]] = field(default_factory=dict)
    rows: int = 0
    wrong: int = 0

    @property
    def arguments(self) -> tuple[Any, ...]:
        return list(self.spaces), self.start, self.end, self.width


async def run(server_url: str, rounds: int, results: Path, *, keep: bool, reuse: bool) -> None:
    """Build the history, compare the answers, measure by turns, write the result."""
    async with own_database(server_url, "bench_series", keep=keep or reuse, reuse=reuse) as url:
        connection = await asyncpg.connect(url, timeout=60)
        try:
            if not reuse:
                await _prepare(connection, datetime.now(UTC).replace(second=0, microsecond=0))
            read_before = await connection.fetchval("SELECT read_before FROM occupancy.horizon")
            questions = _questions(read_before)
            for question in questions:
                await _compare(connection, question)
            for _ in range(rounds):
                for question in questions:
                    await _measure(connection, question)
            report = {
                "machine": await machine_facts(server_url),
                "topology": f"{SPACES} rooms in a ring, {SPACES} doors with a DPU each: two DPUs a room",
                "history": "one event a minute from each DPU: room 1 for a year, all rooms for the last two days",
                "rounds": rounds,
                "questions": [_summary(question) for question in questions],
            }
        finally:
            await connection.close()
    _write(report, results)


def _write(report: dict[str, Any], results: Path) -> None:
    results.mkdir(parents=True, exist_ok=True)
    (results / "series.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report["questions"], indent=2))


async def _prepare(connection: Connection, now: datetime) -> None:
    started = time.perf_counter()
    await connection.execute(TOPOLOGY.format(spaces=SPACES))
    first = now - YEAR - timedelta(days=1)
    await connection.execute(
        LOAD, first, int((now - first) / timedelta(minutes=1)), list(BUSY_DPUS), timeout=1800
    )
    others = [dpu for dpu in range(1, SPACES + 1) if dpu not in BUSY_DPUS]
    minutes = int(LAST_DAYS / timedelta(minutes=1))
    await connection.execute(LOAD, now - LAST_DAYS, minutes, others, timeout=1800)
    await refresh_up_to(connection, now - TAIL)
    await connection.execute(PEER_AGGREGATE)
    read_before = await connection.fetchval("SELECT read_before FROM occupancy.horizon")
    literals = ", ".join(
        f"'{instant.isoformat()}'::timestamptz" for instant in (first - timedelta(days=1), read_before)
    )
    await connection.execute(f"CALL refresh_continuous_aggregate('peer_15m', {literals})", timeout=1800)
    await connection.execute("VACUUM ANALYZE", timeout=1800)
    print(f"ready after {time.perf_counter() - started:.0f} s")


def _questions(read_before: datetime) -> list[Question]:
    # up to now: the last bucket is made of raw crossings
    end = read_before + timedelta(minutes=15)
    hour = read_before.replace(minute=0)
    everyone = range(1, SPACES + 1)
    return [
        Question("a year by 15 minutes, one space", [1], end - YEAR, end, "15 minutes"),
        Question("a day by hour, 2,000 spaces", everyone, hour - timedelta(days=1), hour, "1 hour"),
        Question("a year by day, one space", [1], hour.replace(hour=0) - YEAR, hour.replace(hour=0), "1 day"),
    ]


async def _compare(connection: Connection, question: Question) -> None:
    """Count the buckets in which a contender says something else; those without a crossing the peer leaves out."""
    ours = await connection.fetch(OURS, *question.arguments, timeout=600)
    raw = await connection.fetch(RAW, *question.arguments, timeout=600)
    peer = {
        (row["space"], row["bucket_start"]): row
        for row in await connection.fetch(PEER, *question.arguments, timeout=600)
    }
    question.rows = len(ours)
    question.wrong = abs(len(ours) - len(raw))
    for mine, theirs in zip(ours, raw, strict=False):
        question.wrong += _columns(mine) != _columns(theirs, floor=0)
        question.wrong += not math.isclose(mine["mean"], max(theirs["mean"], 0), rel_tol=1e-9, abs_tol=1e-9)
        edges = peer.get((mine["space"], mine["bucket_start"]))
        # in the tail both see what has arrived since the refresh
        question.wrong += edges is not None and edges["entries"] != mine["entries"]


def _columns(row: asyncpg.Record, floor: int | None = None) -> tuple[int, ...]:
    values = [int(row[name]) for name in ("first", "last", "min", "max")]
    if floor is not None:
        values = [max(value, floor) for value in values]
    return (*values, int(row["entries"]), int(row["exits"]))


async def _measure(connection: Connection, question: Question) -> None:
    """Each contender once: in the server, with its rows made ready to be sent; and until a client has them."""
    for name, sql in CONTENDERS.items():
        plan = await connection.fetchval(
            f"EXPLAIN (ANALYZE, TIMING OFF, SERIALIZE BINARY, FORMAT JSON) {sql}",
            *question.arguments,
            timeout=600,
        )
        (facts,) = json.loads(plan)
        question.server.setdefault(name, []).append(facts["Planning Time"] + facts["Execution Time"])
        started = time.perf_counter()
        await connection.fetch(sql, *question.arguments, timeout=600)
        question.client.setdefault(name, []).append((time.perf_counter() - started) * 1000)


def _summary(question: Question) -> dict[str, Any]:
    server = {name: statistics.median(values) for name, values in question.server.items()}
    client = {name: statistics.median(values) for name, values in question.client.items()}
    return {
        "question": question.name,
        "buckets": question.rows,
        "wrong": question.wrong,
        "milliseconds_in_the_server": {name: round(value, 1) for name, value in server.items()},
        "milliseconds_until_a_client_has_all_rows": {name: round(value, 1) for name, value in client.items()},
        "times_faster_than": {
            name: round(value / server["series"], 1) for name, value in server.items() if name != "series"
        },
        "samples_in_the_server": {
            name: [round(v, 1) for v in values] for name, values in question.server.items()
        },
    }


def main(server_url: str, results: Path, *, rounds: int, keep: bool, reuse: bool) -> None:
    asyncio.run(run(server_url, rounds, results, keep=keep, reuse=reuse))
