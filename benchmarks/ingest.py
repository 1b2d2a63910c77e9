"""What ingest does at size: 100,000 DPUs one by one, batches next to COPY and a naive scheme, and overload."""

from __future__ import annotations

import asyncio
import csv
import json
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.databases import machine_facts, own_database
from benchmarks.peers import copy_of_stored, naive
from benchmarks.running import Meter, Service, load, metered, serves_with_workers, service
from occupancy.database import DEFAULT_ORGANIZATION, Database
from occupancy.load import Site, declare
from occupancy.refresh import Refresher
from occupancy.settings import Settings

PARTS = ("single", "batch", "overload")
# Published by ThingsBoard for 100,000 devices: 1,111 messages/s at 20 % of 4 virtual processors.
PUBLISHED_MESSAGES_PER_CPU_SECOND = 1390
_SETTINGS_OF_THE_SERVER = (
    "fsync", "synchronous_commit", "full_page_writes", "wal_level", "max_wal_size", "checkpoint_timeout",
    "wal_compression", "shared_buffers", "max_connections",
)  # fmt: skip
_MOST_COPIED = 1_000_000


@dataclass(frozen=True, slots=True)
class Scale:
    """How large and how long: seconds of each measurement; `workers` are the processes of the service compared."""

    dpus: int = 100_000
    minutes: float = 15.0
    overload_minutes: float = 5.0
    rounds_of_batches: int = 3
    batch_seconds: float = 20.0
    peer_seconds: float = 15.0
    workers: tuple[int, ...] = (1, 2)
    max_delay: float = 3600.0
    connections: int = 128
    overload_batch_size: int = 1
    overload_connections: int = 4000
    overload_patience: float = 2.0


@dataclass(frozen=True, slots=True)
class Bench:
    """One benchmark's database and where its processes write."""

    server_url: str
    url: str
    directory: Path
    scale: Scale

    @property
    def site(self) -> Site:
        """The site that sends."""
        return Site(self.scale.dpus)

    @property
    def log(self) -> Path:
        """The log of the service."""
        return self.directory / "service.log"

    async def load(self, running: Service, *options: object) -> dict[str, Any]:
        """Run a load of the site."""
        given = (str(option) for option in options)
        report = self.directory / "report.json"
        report.unlink(missing_ok=True)
        return await load(running, report, "--dpus", str(self.scale.dpus), *given)


async def run(
    server_url: str, results: Path, parts: Sequence[str], scale: Scale, *, keep: bool = False
) -> None:
    """Run the parts, each on a database of its own, and write results/ingest_<part>.json."""
    measure = {"single": single, "batch": batch, "overload": overload}
    for part in parts:
        async with own_database(server_url, f"bench_ingest_{part}", keep=keep, refreshes=True) as url:
            with tempfile.TemporaryDirectory() as directory:
                bench = Bench(server_url, url, Path(directory), scale)
                await _declare(bench)
                measured = await measure[part](bench)
                report = {
                    "machine": await machine_facts(server_url),
                    "server": await _server_settings(url),
                    "dpus": scale.dpus,
                    **measured,
                }
        _write(results / f"ingest_{part}.json", report)
        shown = {name: value for name, value in measured.items() if name != "timeline"}
        print(json.dumps(shown, indent=2))


async def _declare(bench: Bench) -> None:
    database = await Database.connect(bench.url, 2)
    try:
        await declare(database, DEFAULT_ORGANIZATION, bench.site)
        refresher = Refresher(database, Settings())
        # The job of the database may be at it: what it does need not be done again.
        while not await refresher.run_once():  # noqa: ASYNC110 -- the other one is in the database
            await asyncio.sleep(0.5)
        async with database.connection() as connection:
            await connection.execute("VACUUM ANALYZE", timeout=600)
    finally:
        await database.close()


# (1) 100,000 DPUs, one event a minute each


async def single(bench: Bench) -> dict[str, Any]:
    """Single-event requests at a fixed rate of arrival."""
    scale = bench.scale
    with service(bench.url, bench.log) as running:
        async with metered(bench.url, running) as meter:
            document = await bench.load(
                running,
                *("--events-per-minute", 1, "--duration", scale.minutes * 60),
                *(
                    "--late",
                    0.1,
                    "--max-delay",
                    scale.max_delay,
                    "--duplicates",
                    0.01,
                    "--out-of-order",
                    0.05,
                ),
                *("--connections", scale.connections),
            )
    used = _used(meter, document)
    acknowledged = document["messages"]["accepted"] + document["messages"]["duplicates"]
    cpu = used["service_cpu_seconds"] + used["database_cpu_seconds"]
    return {
        "minutes": scale.minutes,
        "acknowledged": acknowledged,
        "refused_or_lost": document["messages"]["scheduled"] - acknowledged,
        "p99_ms": document["response_time_ms"]["p99"],
        "used": used,
        "messages_per_cpu_second": round(acknowledged / cpu, 1),
        "messages_per_cpu_second_of_the_service": round(acknowledged / used["service_cpu_seconds"], 1),
        "published_messages_per_cpu_second": PUBLISHED_MESSAGES_PER_CPU_SECOND,
        "wal_bytes_per_message": round(used["wal_mib"] * 2**20 / acknowledged),
        **_of_load(document),
        "timeline": document["timeline"],
    }


# (2) batches of 1,000, next to COPY and to a naive scheme


async def batch(bench: Bench) -> dict[str, Any]:
    """All by turns, so that a busy machine slows all of them."""
    workers = [number for number in bench.scale.workers if number == 1 or serves_with_workers()]
    rounds = []
    for number in range(bench.scale.rounds_of_batches):
        rounds.append(
            {
                "service": {str(count): await _batches(bench, count, seed=number + 1) for count in workers},
                "copy": await _copy(bench),
                "naive": await naive(bench.url, bench.site, bench.scale.peer_seconds),
            }
        )
        print(json.dumps(rounds[-1], indent=2))
    return {**_ratios(rounds, workers), "rounds": rounds}


async def _batches(bench: Bench, workers: int, seed: int) -> dict[str, Any]:
    with service(bench.url, bench.log, workers) as running:
        async with metered(bench.url, running) as meter:
            document = await bench.load(
                running,
                *("--mode", "batch", "--batch-size", 1000, "--rate", "max", "--seed", seed),
                *("--duration", bench.scale.batch_seconds, "--warm-up", 2, "--connections", 8 * workers),
                *("--verify-every", 2),
            )
    return {
        "events_per_second": document["per_second"]["acknowledged"],
        "used": _used(meter, document),
        **_of_load(document),
    }


async def _copy(bench: Bench) -> dict[str, Any]:
    connection = await asyncpg.connect(bench.url)
    try:
        return await copy_of_stored(connection, _MOST_COPIED)
    finally:
        await connection.close()


def median(values: Iterable[float]) -> float:
    """The value in the middle."""
    return float(statistics.median(values))


def _ratios(rounds: list[dict[str, Any]], workers: Sequence[int]) -> dict[str, Any]:
    def fastest(name: str, among: Sequence[str]) -> float:
        return median(max(float(turn[name][way]["events_per_second"]) for way in among) for turn in rounds)

    served = {
        str(count): median(turn["service"][str(count)]["events_per_second"] for turn in rounds)
        for count in workers
    }
    # one COPY of all rows is what a database can do at most; the batches tell what commits cost
    copied, scheme = fastest("copy", ("stream", "records")), fastest("naive", ("single", "batches"))
    return {
        "events_per_second": served,
        "copy_events_per_second": copied,
        "naive_events_per_second": scheme,
        "to_copy": {count: round(speed / copied, 3) for count, speed in served.items()},
        "to_naive": {count: round(speed / scheme, 1) for count, speed in served.items()},
    }


# (5) overload


async def overload(bench: Bench) -> dict[str, Any]:
    """What it can take is measured first; then half of it, three times of it, and half of it again."""
    scale = bench.scale
    mode: tuple[object, ...] = ("--mode", "batch", "--batch-size", scale.overload_batch_size)
    if scale.overload_batch_size == 1:
        mode = ("--mode", "single")
    with service(bench.url, bench.log) as running:
        closed = await bench.load(
            running,
            *mode,
            "--rate",
            "max",
            "--duration",
            20,
            "--warm-up",
            5,
            "--connections",
            64,
            "--no-verify",
        )
        capacity = closed["per_second"]["acknowledged"]
        quiet, busy, after = 60.0, scale.overload_minutes * 60, 60.0
        ledger = bench.directory / "ledger.csv"
        async with metered(bench.url, running) as meter:
            document = await bench.load(
                running,
                *mode,
                *("--step", f"{capacity / 2}:{quiet}", "--step", f"{capacity * 3}:{busy}"),
                *("--step", f"{capacity / 2}:{after}", "--connections", scale.overload_connections),
                *("--patience", scale.overload_patience, "--timeout", 10, "--ledger", ledger, "--seed", 2),
            )
    start = document["started_at"]
    return {
        "capacity_per_second": capacity,
        "overload_per_second": capacity * 3,
        "seconds": {"quiet": quiet, "overload": busy, "after": after},
        **_during_overload(document["timeline"], quiet, busy),
        "memory_mib": _memory(meter, start + quiet, start + quiet + busy),
        "stored": await _compare_with_database(bench.url, ledger),
        "used": _used(meter, document),
        **_of_load(document),
        "timeline": document["timeline"],
    }


def _during_overload(timeline: list[dict[str, Any]], quiet: float, busy: float) -> dict[str, Any]:
    calm = [row for row in timeline if 5 <= row["second"] < quiet - 1]
    rows = [row for row in timeline if quiet + 1 <= row["second"] < quiet + busy - 1]
    normal = statistics.median(row["p99"] for row in calm if row["p99"] is not None)
    due = sum(row["due"] for row in rows)
    accepted = sorted(row["p99"] for row in rows if row["p99"] is not None)
    return {
        "p99_ms_before": normal,
        "p99_ms_in_overload_median": statistics.median(accepted) if accepted else None,
        "p99_ms_in_overload_max": max(accepted, default=None),
        "share_acknowledged": round(sum(row["acknowledged"] for row in rows) / due, 3),
        "share_refused": round(sum(row["refused"] for row in rows) / due, 3),
        # it found no connection: what the service could not even refuse
        "share_without_a_connection": round(1 - sum(row["sent"] for row in rows) / due, 3),
        "acknowledged_per_second": round(sum(row["acknowledged"] for row in rows) / len(rows), 1),
        "seconds_until_normal": _seconds_until_normal(timeline, quiet + busy, max(2 * normal, 100.0)),
    }


def _seconds_until_normal(timeline: list[dict[str, Any]], end: float, normal: float) -> int | None:
    """From the end of the overload until p99 is normal, and nothing refused, for three seconds; None: never."""
    rows = [row for row in timeline if row["second"] >= end]
    for place in range(len(rows) - 2):
        if all(
            row["p99"] is not None and row["p99"] <= normal and not row["refused"] and not row["others"]
            for row in rows[place : place + 3]
        ):
            return int(rows[place]["second"] - end)
    return None


def _memory(meter: Meter, start: float, end: float) -> dict[str, Any]:
    """Flat: the last minute needs no more than the second."""
    second_minute = meter.memory(start + 60, start + 120) or meter.memory(start, end)
    last_minute = meter.memory(end - 60, end)
    return {
        "second_minute": round(statistics.median(second_minute), 1),
        "last_minute": round(statistics.median(last_minute), 1),
        "at_most": round(max(meter.memory(start, end)), 1),
        "every_ten_seconds": [round(mib, 1) for mib in meter.memory(start, end)[::20]],
    }


_LEDGER = """
CREATE TEMPORARY TABLE ledger (dpu_id text, time timestamptz, direction smallint, seq bigint, fate text)
"""
_COMPARED = """
SELECT ledger.fate, count(*) AS events, count(crossing.dpu) AS found,
  count(*) FILTER (WHERE crossing.direction <> ledger.direction) AS other_direction
FROM ledger
JOIN occupancy.dpu ON dpu.organization = $1 AND dpu.dpu_id = ledger.dpu_id
LEFT JOIN occupancy.crossing
  ON crossing.dpu = dpu.id AND crossing.time = ledger.time AND crossing.seq = ledger.seq
GROUP BY ledger.fate
"""


async def _compare_with_database(url: str, ledger: Path) -> dict[str, Any]:
    """Look every event of the ledger up in the database."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_LEDGER)
        with ledger.open(newline="") as file:
            rows = csv.reader(file)
            next(rows)
            await connection.copy_records_to_table(
                "ledger",
                records=(
                    (row[0], datetime.fromisoformat(row[1]), int(row[2]), int(row[3]), row[4]) for row in rows
                ),
                timeout=1200,
            )
        await connection.execute("ANALYZE ledger")
        found = {
            row["fate"]: {name: row[name] for name in ("events", "found", "other_direction")}
            for row in await connection.fetch(_COMPARED, DEFAULT_ORGANIZATION, timeout=1200)
        }
    finally:
        await connection.close()
    stored = found.get("stored", {"events": 0, "found": 0, "other_direction": 0})
    refused = found.get("not stored", {"events": 0, "found": 0, "other_direction": 0})
    return {
        "acknowledged": stored["events"],
        "acknowledged_and_missing": stored["events"] - stored["found"],
        "acknowledged_with_another_direction": stored["other_direction"],
        "not_acknowledged_and_found": refused["found"],
        "by_fate": found,
    }


# what all of them tell


def _used(meter: Meter, document: dict[str, Any]) -> dict[str, float]:
    """From when the load began until its last answer; the questions about counts meanwhile are in it."""
    start = document["started_at"]
    seconds = document["generator"]["seconds"]
    return meter.between(start, start + seconds) | {
        "generator_cpu_seconds": document["generator"]["cpu_seconds"]
    }


def _of_load(document: dict[str, Any]) -> dict[str, Any]:
    names = (
        "plan", "messages", "requests", "per_second", "response_time_ms", "service_time_ms", "refusal_time_ms",
        "counts", "receipts_agree", "generator",
    )  # fmt: skip
    return {name: document[name] for name in names}


async def _server_settings(url: str) -> dict[str, str]:
    connection = await asyncpg.connect(url)
    try:
        return {name: await connection.fetchval(f"SHOW {name}") for name in _SETTINGS_OF_THE_SERVER}
    finally:
        await connection.close()


def _write(file: Path, report: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=2) + "\n")


def main(server_url: str, results: Path, parts: Sequence[str], scale: Scale, *, keep: bool = False) -> None:
    """Measure. Raises RuntimeError where the server is on another machine."""
    asyncio.run(run(server_url, results, parts, scale, keep=keep))
