"""What a refresh costs at 100,000 DPUs with 0, 1 and 10 % of the events late, and TimescaleDB's own."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg

from benchmarks.databases import Connection, machine_facts, own_database, refresh_up_to

DPUS = 100_000
ROOMS, FLOORS = 25_000, 2_500
BUCKET = timedelta(minutes=15)
LAG = timedelta(minutes=2)
REFRESH_EVERY_SECONDS = 10
BATCHES_PER_MINUTE = 60
# A day at full density is 144 million rows. Instead: these quarters of an hour of the last day, each at full
# density for all DPUs. Late events fall into them and nowhere else, so that every repaired bucket holds the
# rows that it would hold.
OLD_QUARTERS_BACK = (6, 24, 48, 92)
LATE_SHARES = (0.0, 0.01, 0.1)

# Each door leads from a room to outside and each room is on a floor: a DPU touches its room and its floor.
TOPOLOGY = (
    f"""INSERT INTO occupancy.space (organization, space_id, name, kind)
        SELECT 1, 'floor-' || i, 'Floor ' || i, 'floor' FROM generate_series(1, {FLOORS}) AS i""",
    f"""INSERT INTO occupancy.space (organization, space_id, name, kind, parent)
        SELECT 1, 'room-' || i, 'Room ' || i, 'room', i % {FLOORS} + 1
        FROM generate_series(1, {ROOMS}) AS i""",
    f"""INSERT INTO occupancy.doorway (organization, doorway_id, name, side_a)
        SELECT 1, 'door-' || i, 'Door ' || i, {FLOORS} + i % {ROOMS} + 1
        FROM generate_series(1, {DPUS}) AS i""",
    f"""INSERT INTO occupancy.dpu (organization, dpu_id, name)
        SELECT 1, 'dpu-' || i, 'DPU ' || i FROM generate_series(1, {DPUS}) AS i""",
    f"""INSERT INTO occupancy.placement (organization, dpu, doorway, facing)
        SELECT 1, i, i, 'a' FROM generate_series(1, {DPUS}) AS i""",
)
# A minute of each DPU's events, straight into the table: the time of the load is not what is measured.
LOAD_MINUTE = f"""
INSERT INTO occupancy.crossing (time, dpu, direction)
SELECT $1::timestamptz + random() * INTERVAL '59.9 seconds', dpu, CASE WHEN random() < 0.5 THEN 1 ELSE -1 END
FROM generate_series(1, {DPUS}) AS dpu
ON CONFLICT DO NOTHING
"""
PEER = """
CREATE MATERIALIZED VIEW peer_15m WITH (
  timescaledb.continuous, timescaledb.materialized_only = true, timescaledb.create_group_indexes = false,
  timescaledb.chunk_interval = '90 days'
) AS
SELECT effect.space, time_bucket(INTERVAL '15 minutes', crossing.time) AS bucket,
  (count(*) FILTER (WHERE crossing.direction * effect.sign > 0))::integer AS entries,
  (count(*) FILTER (WHERE crossing.direction * effect.sign < 0))::integer AS exits,
  max(crossing.time) AS last_crossing
FROM occupancy.crossing
JOIN occupancy.effect ON effect.dpu = crossing.dpu
  AND crossing.time >= effect.valid_from AND crossing.time < effect.valid_to
GROUP BY effect.space, time_bucket(INTERVAL '15 minutes', crossing.time)
WITH NO DATA
"""
PEER_INDEX = """
DO $$ BEGIN EXECUTE (
  SELECT format('CREATE UNIQUE INDEX ON %I.%I (space, bucket) INCLUDE (entries, exits, last_crossing)',
    materialization_hypertable_schema, materialization_hypertable_name)
  FROM timescaledb_information.continuous_aggregates WHERE view_name = 'peer_15m'
); END $$
"""
# The (space, bucket) pairs that the marks reach into.
PAIRS = """
SELECT count(DISTINCT (stale.space, bucket)) FROM occupancy.stale
CROSS JOIN LATERAL generate_series(
  public.time_bucket('15 minutes', stale.since), stale.until, '15 minutes') AS bucket
"""


@dataclass
class Backend:
    """A connection whose processor time can be read: the server must run on this machine."""

    connection: Connection
    process: int
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @classmethod
    async def of(cls, connection: Connection) -> Backend:
        process = await connection.fetchval("SELECT pg_backend_pid()")
        backend = cls(connection, process)
        backend.check()
        return backend

    def check(self) -> None:
        """A process of that number that is not the server's would give figures all the same."""
        if "postgres" not in Path(f"/proc/{self.process}/comm").read_text():
            raise RuntimeError("processor time is read from /proc: run this on the server's own machine")

    def spent(self) -> float:
        """CPU-seconds since the backend began; finer than the clock ticks of /proc/<pid>/stat."""
        return int(Path(f"/proc/{self.process}/schedstat").read_text().split()[0]) / 1e9

    async def measured(self, name: str, statement: str, *arguments: object) -> Any:
        """Run a statement and add what it cost to `seconds[name]`."""
        before = self.spent()
        value = await self.connection.fetchval(statement, *arguments)
        self.seconds[name] += self.spent() - before
        return value


@dataclass
class Scenario:
    """A quarter of an hour of events with a share of late ones."""

    late_share: float
    start: datetime
    events: int = 0
    late: int = 0
    pairs_repaired: int = 0
    refreshes: int = 0
    ingest_seconds: float = 0.0

    @property
    def end(self) -> datetime:
        return self.start + BUCKET


async def run(server_url: str, results: Path, *, keep: bool = False) -> None:
    """Load, run a quarter of an hour at each late share, and let the peer refresh the same."""
    async with own_database(server_url, "bench_refresh", keep=keep) as url:
        start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        async with backend(url) as writer, backend(url) as refresher, backend(url) as peer:
            await _load(writer.connection, start)
            await refresh_up_to(refresher.connection, start, step="15 minutes")
            await peer.connection.execute(PEER)
            await peer.connection.execute(PEER_INDEX)
            await writer.connection.execute("VACUUM ANALYZE")
            await _peer_refresh(peer, "first", start - timedelta(days=1), start)
            reports = []
            for i, share in enumerate(LATE_SHARES):
                reports.append(await _scenario(Scenario(share, start + i * BUCKET), writer, refresher, peer))
                print(json.dumps(reports[-1], indent=2))
        facts = await machine_facts(server_url)
    report = {"machine": facts, **_setting(), "scenarios": reports}
    _write_result(report, results)


def _write_result(report: dict[str, Any], results: Path) -> None:
    results.mkdir(parents=True, exist_ok=True)
    (results / "refresh.json").write_text(json.dumps(report, indent=2) + "\n")


@asynccontextmanager
async def backend(url: str) -> AsyncIterator[Backend]:
    connection = await asyncpg.connect(url, command_timeout=3600)
    try:
        await connection.execute(
            "SET max_parallel_workers_per_gather = 0"
        )  # all work in the process that is read
        yield await Backend.of(connection)
    finally:
        await connection.close()


async def _load(connection: Connection, start: datetime) -> None:
    began = time.perf_counter()
    for command in TOPOLOGY:
        await connection.execute(command)
    print(f"topology: {time.perf_counter() - began:.0f} s")
    quarters = sorted({*OLD_QUARTERS_BACK, *range(1, 5)}, reverse=True)
    for quarter in quarters:
        for minute in range(15):
            await connection.execute(LOAD_MINUTE, start - quarter * BUCKET + timedelta(minutes=minute))
    await connection.execute("ANALYZE occupancy.crossing")
    await connection.execute("ANALYZE occupancy.effect")
    print(f"history: {time.perf_counter() - began:.0f} s")


async def _scenario(scenario: Scenario, writer: Backend, refresher: Backend, peer: Backend) -> dict[str, Any]:
    """15 minutes of events in batches of a second, with a refresh after every 10 seconds of them."""
    refresher.seconds.clear()
    for minute in range(15):
        for batch in range(BATCHES_PER_MINUTE):
            now = scenario.start + timedelta(minutes=minute, seconds=batch)
            await _ingest(scenario, writer, now)
            if (batch + 1) % REFRESH_EVERY_SECONDS == 0:
                await _refresh(scenario, refresher, now)
    # the bucket is due two minutes after its end; the events of those two minutes are left out
    peer.seconds.clear()
    await _refresh(scenario, refresher, scenario.end + LAG)
    await _peer_refresh(peer, "new_bucket", scenario.start, scenario.end)
    await _peer_refresh(peer, "late_events", scenario.start - timedelta(days=1, hours=1), scenario.start)
    return _summary(scenario, refresher.seconds, peer.seconds)


async def _ingest(scenario: Scenario, writer: Backend, now: datetime) -> None:
    size = DPUS // BATCHES_PER_MINUTE
    dpus, times = random.sample(range(1, DPUS + 1), size), []
    for _ in range(size):
        late = random.random() < scenario.late_share
        scenario.late += late
        times.append(
            _late_instant(scenario) if late else now + timedelta(microseconds=random.randrange(10**6))
        )
    began = time.perf_counter()
    await writer.connection.fetch(
        "SELECT * FROM occupancy.ingest_crossings(1, $1, $2, $3, $4)",
        [f"dpu-{dpu}" for dpu in dpus], times, random.choices((1, -1), k=size), [0] * size,
    )  # fmt: skip
    scenario.ingest_seconds += time.perf_counter() - began
    scenario.events += size


def _late_instant(scenario: Scenario) -> datetime:
    first = LATE_SHARES.index(
        scenario.late_share
    )  # the quarters are counted from the start of the first scenario
    quarter = scenario.start - (random.choice(OLD_QUARTERS_BACK) + first) * BUCKET
    return quarter + random.random() * BUCKET * 0.999


async def _refresh(scenario: Scenario, refresher: Backend, now: datetime) -> None:
    """The product's steps, as refresh_aggregates calls them, each with what it cost."""
    holder = uuid4()
    taken = await refresher.measured("other_steps", "SELECT occupancy.take_refresh($1, '0')", holder)
    if not taken:
        raise RuntimeError("another refresher is at work in the benchmark's own database")
    await refresher.measured("other_steps", "SELECT occupancy.claim_stale($1)", holder)
    scenario.pairs_repaired += await refresher.connection.fetchval(PAIRS)
    lag = datetime.now(UTC) - (now - LAG)
    before = await refresher.connection.fetchval("SELECT read_before FROM occupancy.horizon")
    target = await refresher.measured("other_steps", "SELECT occupancy.move_horizon($1, $2)", holder, lag)
    while await refresher.measured("repair", "SELECT occupancy.repair_next($1, '30 days')", holder):
        pass
    name = "materialization" if target != before else "nothing_to_materialize"
    while await refresher.measured(name, "SELECT occupancy.materialize_next($1, '1 day')", holder):
        pass
    await refresher.measured("other_steps", "SELECT occupancy.end_refresh($1, true)", holder)
    scenario.refreshes += 1


async def _peer_refresh(peer: Backend, name: str, start: datetime, end: datetime) -> None:
    before = peer.spent()
    await peer.connection.execute(
        f"CALL refresh_continuous_aggregate('peer_15m', '{start.isoformat()}', '{end.isoformat()}')"
    )
    peer.seconds[name] += peer.spent() - before


def _summary(scenario: Scenario, ours: dict[str, float], peer: dict[str, float]) -> dict[str, Any]:
    per_minute = {name: round(seconds / 15, 4) for name, seconds in ours.items()}
    total = sum(ours.values()) / 15
    return {
        "late_share": scenario.late_share,
        "events": scenario.events,
        "late_events": scenario.late,
        "space_buckets_repaired": scenario.pairs_repaired,
        "refreshes": scenario.refreshes,
        "cpu_seconds_per_minute_of_events": per_minute | {"total": round(total, 4)},
        "percent_of_a_core": round(total / 60 * 100, 2),
        "repair_cpu_ms_per_late_event": round(ours["repair"] / scenario.late * 1000, 3)
        if scenario.late
        else None,
        "timescaledb_refresh_cpu_seconds": {name: round(seconds, 2) for name, seconds in peer.items()},
        "materialization_to_timescaledb": round(ours["materialization"] / peer["new_bucket"], 2),
        # Once for the peer, every 10 s for us. It has 4 old buckets to redo here, 96 in the field.
        "repair_to_timescaledb": round(ours["repair"] / peer["late_events"], 2) if scenario.late else None,
        "ingest_wall_seconds_per_minute_of_events": round(scenario.ingest_seconds / 15, 2),
    }


def _setting() -> dict[str, Any]:
    return {
        "dpus": DPUS,
        "topology": f"{ROOMS} rooms with 4 doors to outside each, on {FLOORS} floors: two spaces a DPU",
        "history": "the last hour and, of the day before, the quarters of an hour that began "
        f"{', '.join(str(q) for q in OLD_QUARTERS_BACK)} quarters back, all DPUs at one event a minute; "
        "late events fall into those quarters only",
        "refresh_every_seconds": REFRESH_EVERY_SECONDS,
    }


def main(server_url: str, results: Path, *, keep: bool) -> None:
    asyncio.run(run(server_url, results, keep=keep))
