"""count_at against a primary-key look-up on the same connection, over 1 month, 1 year and 10 years."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.databases import Connection, machine_facts, own_database, refresh_up_to

SPACES = 2000
POOL = (
    300  # questions about the past that have been asked before: their pages are in memory, as a look-up's are
)
WARM_UP = 200  # rounds in which plans and caches fill up
EVENTS_PER_DPU_AND_DAY = 2.74  # 20 million events in 10 years
# A bucket is materialized 2 minutes after its end: raw crossings reach 2 to 17 minutes back, 9.5 on average.
TAIL = timedelta(minutes=10)
DENSE = timedelta(minutes=15)
HISTORIES = {"1 month": timedelta(days=30), "1 year": timedelta(days=365), "10 years": timedelta(days=3650)}

KINDS = ("now", "past", "past_first")
LOOK_UP = "SELECT id, organization, space_id, parent, name FROM occupancy.space WHERE id = $1"
COUNT_AT = "SELECT * FROM occupancy.count_at($1, $2)"
RECOUNT = """
SELECT quick.net = slow.net AND quick.entries = slow.entries AND quick.exits = slow.exits
  AND quick.last_crossing IS NOT DISTINCT FROM slow.last_crossing
FROM occupancy.count_at($1, $2) AS quick, occupancy.recount_at($1, $2) AS slow
"""

# A ring of rooms: door i joins room i and the next. Each DPU touches two spaces, each space has two DPUs.
TOPOLOGY = """
INSERT INTO occupancy.space (organization, space_id, name)
SELECT 1, 'room-' || i, 'Room ' || i FROM generate_series(1, {spaces}) AS i;
INSERT INTO occupancy.doorway (organization, doorway_id, name, side_a, side_b)
SELECT 1, 'door-' || i, 'Door ' || i, i, i % {spaces} + 1 FROM generate_series(1, {spaces}) AS i;
INSERT INTO occupancy.dpu (organization, dpu_id, name)
SELECT 1, 'dpu-' || i, 'DPU ' || i FROM generate_series(1, {spaces}) AS i;
INSERT INTO occupancy.placement (organization, dpu, doorway, facing)
SELECT 1, i, i, CASE WHEN i % 2 = 0 THEN 'a' ELSE 'b' END FROM generate_series(1, {spaces}) AS i;
"""
LOAD = """
INSERT INTO occupancy.crossing (time, dpu, direction)
SELECT $1::timestamptz + (k + random()) * $2::interval, dpu, CASE WHEN random() < 0.5 THEN 1 ELSE -1 END
FROM generate_series(0, $3::integer - 1) AS k, generate_series(1, $4::integer) AS dpu
ON CONFLICT DO NOTHING
"""


@dataclass
class Case:
    """One history: its database, and what was measured in it, in milliseconds."""

    name: str
    connection: Connection
    first: datetime
    now: datetime
    events: int = 0
    samples: dict[str, list[float]] = field(default_factory=dict)


async def run(server_url: str, rounds: int, results: Path, *, keep: bool, reuse: bool) -> None:
    """Build the three histories, check the answers, measure them by turns, write the result and the plot."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    async with AsyncExitStack() as stack:
        cases = []
        for name, length in HISTORIES.items():
            database = own_database(
                server_url, f"bench_count_at_{name.replace(' ', '_')}", keep=keep or reuse, reuse=reuse
            )
            connection = await asyncpg.connect(await stack.enter_async_context(database), timeout=60)
            stack.push_async_callback(connection.close)
            if not reuse:
                await _prepare(connection, name, now - length, now)
            cases.append(await _prepared(connection, name, length))
        wrong = [await _wrong_answers(case) for case in cases]
        await _measure(cases, rounds)
    report = {
        "machine": await machine_facts(server_url),
        "topology": f"{SPACES} rooms in a ring, {SPACES} doors with a DPU each: two DPUs a room",
        "tail_minutes": TAIL.total_seconds() / 60,
        "rounds": rounds,
        "cases": [_summary(case) | {"wrong": n} for case, n in zip(cases, wrong, strict=True)],
        "ratio_10_years_to_1_month": _growth(cases),
    }
    _write_results(report, cases, results)
    print(json.dumps(report, indent=2))


async def _prepare(connection: Connection, name: str, first: datetime, now: datetime) -> None:
    started = time.perf_counter()
    await connection.execute(TOPOLOGY.format(spaces=SPACES))
    await load_history(connection, first, now)
    await refresh_up_to(connection, now - TAIL)
    await connection.execute("VACUUM ANALYZE")
    print(f"{name}: ready after {time.perf_counter() - started:.0f} s")


async def _prepared(connection: Connection, name: str, length: timedelta) -> Case:
    # The horizon is at the start of a bucket: what is "now" follows from it, not from the clock.
    now = await connection.fetchval("SELECT read_before FROM occupancy.horizon") + TAIL
    events = await connection.fetchval("SELECT count(*) FROM occupancy.crossing WHERE time <= $1", now)
    return Case(name, connection, now - length, now, events)


async def load_history(connection: Connection, first: datetime, now: datetime) -> None:
    """Thin events up to the last quarters of an hour, then one a minute for each DPU. A month at a time."""
    spacing = timedelta(days=1 / EVENTS_PER_DPU_AND_DAY)
    dense_from = now - 2 * DENSE
    while first < dense_from:
        slots = min(round(timedelta(days=30) / spacing), max(1, int((dense_from - first) / spacing)))
        await connection.execute(LOAD, first, spacing, slots, SPACES)
        first += slots * spacing
    minutes = int((now - dense_from) / timedelta(minutes=1))
    await connection.execute(LOAD, dense_from, timedelta(minutes=1), minutes, SPACES)


async def _wrong_answers(case: Case, checks: int = 20) -> int:
    """How many of some random answers differ from the plain sum over all crossings."""
    wrong = 0
    for _ in range(checks):
        space, instant = random.randint(1, SPACES), random.choice((case.now, _past(case)))
        wrong += not await case.connection.fetchval(RECOUNT, space, instant)
    return wrong


def _past(case: Case) -> datetime:
    return case.first + random.random() * (case.now - case.first)


async def _measure(cases: Sequence[Case], rounds: int) -> None:
    """One call of each kind in each history by turns: what disturbs the machine disturbs all alike."""
    asked_before = {
        case.name: [(random.randint(1, SPACES), _past(case)) for _ in range(POOL)] for case in cases
    }
    for case in cases:
        for question in asked_before[case.name]:
            await case.connection.fetchrow(COUNT_AT, *question)
    for turn in range(-WARM_UP, rounds):
        for case in cases:
            for kind, statement, arguments in (
                ("look_up", LOOK_UP, (random.randint(1, SPACES),)),
                ("now", COUNT_AT, (random.randint(1, SPACES), case.now)),
                ("look_up", LOOK_UP, (random.randint(1, SPACES),)),
                ("past", COUNT_AT, random.choice(asked_before[case.name])),
                ("past_first", COUNT_AT, (random.randint(1, SPACES), _past(case))),
            ):
                # fetchrow prepares a statement once and keeps it
                started = time.perf_counter()
                await case.connection.fetchrow(statement, *arguments)
                elapsed = (time.perf_counter() - started) * 1000
                if turn >= 0:
                    case.samples.setdefault(kind, []).append(elapsed)
    for _ in range(5):
        for case in cases:
            started = time.perf_counter()
            rows = await case.connection.fetch(
                "SELECT * FROM occupancy.counts_at(ARRAY(SELECT id FROM occupancy.space), $1)", case.now
            )
            case.samples.setdefault("counts_at", []).append((time.perf_counter() - started) * 1000)
            assert len(rows) == SPACES


@dataclass(frozen=True)
class Spread:
    """Of one kind of call, in milliseconds."""

    median: float
    p95: float
    p99: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        cuts = statistics.quantiles(samples, n=100)
        return cls(*(round(value, 4) for value in (statistics.median(samples), cuts[94], cuts[98])))


def _summary(case: Case) -> dict[str, Any]:
    spreads = {kind: Spread.of(samples) for kind, samples in case.samples.items() if kind != "counts_at"}
    look_up = spreads["look_up"].median
    return {
        "history": case.name,
        "events": case.events,
        "milliseconds": {kind: asdict(spread) for kind, spread in spreads.items()},
        "ratio_to_look_up": {kind: round(spreads[kind].median / look_up, 2) for kind in KINDS},
        "counts_at_2000_spaces_ms": round(statistics.median(case.samples["counts_at"]), 1),
    }


def _growth(cases: Sequence[Case]) -> dict[str, float]:
    short, long = cases[0], cases[-1]
    return {
        kind: round(statistics.median(long.samples[kind]) / statistics.median(short.samples[kind]), 2)
        for kind in KINDS
    }


def _write_results(report: dict[str, Any], cases: Sequence[Case], results: Path) -> None:
    """The report with every sample, and the distribution of each kind of call as a picture."""
    results.mkdir(parents=True, exist_ok=True)
    samples = {
        case.name: {k: [round(v, 4) for v in values] for k, values in case.samples.items()} for case in cases
    }
    (results / "count_at.json").write_text(json.dumps(report, indent=2) + "\n")
    (results / "count_at_samples.json").write_text(json.dumps(samples) + "\n")
    _plot(cases, results / "count_at.svg")


def _plot(cases: Sequence[Case], target: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - only who draws needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(8, 4.5))
    labels = {
        "look_up": "primary-key look-up",
        "now": "count_at, now",
        "past": "count_at, past instant asked before",
        "past_first": "count_at, any past instant",
    }
    for offset, (kind, label) in enumerate(labels.items()):
        medians = [statistics.median(case.samples[kind]) for case in cases]
        tails = [statistics.quantiles(case.samples[kind], n=20)[18] for case in cases]
        above = [tail - median for tail, median in zip(tails, medians, strict=True)]
        places = [i + 0.2 * (offset - (len(labels) - 1) / 2) for i in range(len(cases))]
        axes.bar(places, medians, width=0.18, label=label, yerr=[[0] * len(cases), above], capsize=3)
    axes.set_xticks(
        range(len(cases)), [f"{case.name}\n{case.events / 1e6:.1f} million events" for case in cases]
    )
    axes.set_ylabel("milliseconds per call (median, whisker: 95 %)")
    axes.set_title("A count at any instant against a primary-key look-up")
    axes.legend()
    figure.tight_layout()
    figure.savefig(target)


def main(server_url: str, results: Path, *, rounds: int, keep: bool, reuse: bool) -> None:
    asyncio.run(run(server_url, rounds, results, keep=keep, reuse=reuse))
