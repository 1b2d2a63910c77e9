"""Writers, a refresher, an editor of the topology and readers at once: is every count exact at every instant?

Each reader compares count_at with the plain sum over all crossings (recount_at) in one statement. Time is
simulated, at 600 times real speed: the horizon passes a bucket every 1.5 s instead of every 15 minutes. With
--no-barrier the refresher moves the horizon without waiting for the writers in flight: that must give wrong
counts, or the test has no teeth.

    OCCUPANCY_TEST_DATABASE_URL=postgresql://… python tests/stress/exactness.py --seconds 600
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import uuid4

import asyncpg
from sqlalchemy.engine import make_url

from occupancy import schema

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

SPEED = 600
SPACES = 20
DOORWAYS = 40
DPUS = 40
WRITERS = 3
READERS = 3
HISTORY = timedelta(days=2)
CLOCK = "clock_timestamp() - lag"
BARRIER = "PERFORM pg_advisory_xact_lock(occupancy.writing_lock());"

COMPARE = """
SELECT quick.net AS quick_net, quick.entries AS quick_entries, quick.exits AS quick_exits,
  quick.last_crossing AS quick_last, slow.net AS slow_net, slow.entries AS slow_entries,
  slow.exits AS slow_exits, slow.last_crossing AS slow_last, quick.space,
  quick.aggregated_crossings, quick.tail_crossings,
  (quick.net, quick.entries, quick.exits) = (slow.net, slow.entries, slow.exits)
    AND quick.last_crossing IS NOT DISTINCT FROM slow.last_crossing AS same
"""
COMPARE_ONE = COMPARE.replace("quick.space,", "$1::integer AS space,") + (
    "FROM occupancy.count_at($1, $2) AS quick, occupancy.recount_at($1, $2) AS slow"
)
COMPARE_MANY = COMPARE + (
    "FROM occupancy.counts_at($1, $2) AS quick "
    "CROSS JOIN LATERAL occupancy.recount_at(quick.space, $2) AS slow"
)
# What is in the aggregates against what follows from the crossings, once there is nothing left to repair.
WRONG_ROWS = """
WITH kept AS (
  SELECT space, bucket, entries, exits, last_crossing FROM occupancy.flow_{level}
), wanted AS (
  SELECT effect.space, public.time_bucket($1::interval, crossing.time) AS bucket,
    (count(*) FILTER (WHERE crossing.direction * effect.sign > 0))::integer AS entries,
    (count(*) FILTER (WHERE crossing.direction * effect.sign < 0))::integer AS exits,
    max(crossing.time) AS last_crossing
  FROM occupancy.crossing
  JOIN occupancy.effect ON effect.dpu = crossing.dpu
    AND crossing.time >= effect.valid_from AND crossing.time < effect.valid_to
  WHERE crossing.time < public.time_bucket($1::interval, (SELECT read_before FROM occupancy.horizon))
  GROUP BY 1, 2
)
SELECT count(*) FROM (
  (TABLE kept EXCEPT TABLE wanted) UNION ALL (TABLE wanted EXCEPT TABLE kept)
) AS difference
"""
LEVELS = {"15m": timedelta(minutes=15), "1d": timedelta(hours=24), "30d": timedelta(hours=720)}
WRONG_EFFECTS = """
WITH derived AS (SELECT * FROM occupancy.derived_effects(ARRAY(SELECT id FROM occupancy.dpu)))
SELECT count(*) FROM (
  (TABLE derived EXCEPT TABLE occupancy.effect) UNION ALL (TABLE occupancy.effect EXCEPT TABLE derived)
) AS difference
"""


@dataclass
class Summary:
    """What happened, and what was wrong."""

    barrier: bool
    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        names = (
            "reads", "wrong", "aggregated_reads", "mixed_reads", "refreshes", "materializations", "repairs",
            "marks_repaired", "transactions", "events_sent", "events_stored", "events_late", "events_refused",
            "topology_edits", "edits_refused", "lock_timeouts", "deadlocks", "wrong_rows_at_the_end",
            "wrong_effects_at_the_end", "crossings_lost_or_doubled",
        )  # fmt: skip
        known = {name: self.counts[name] for name in names}
        kinds = {name: n for name, n in sorted(self.counts.items()) if name.startswith("edit ")}
        return {"barrier": self.barrier, **known, **kinds, "examples": self.examples}


@dataclass(frozen=True)
class Clock:
    """Simulated time; the database holds the same clock as stress.now()."""

    started: datetime
    simulated_start: datetime

    def now(self) -> datetime:
        return self.simulated_start + SPEED * (datetime.now(UTC) - self.started)

    def as_sql(self) -> str:
        return (
            "CREATE SCHEMA stress; "
            "CREATE FUNCTION stress.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ "
            f"SELECT TIMESTAMPTZ '{self.simulated_start.isoformat()}' "
            f"+ {SPEED} * (clock_timestamp() - TIMESTAMPTZ '{self.started.isoformat()}') $$"
        )


@dataclass
class Run:
    """What the actors share."""

    url: str
    clock: Clock
    summary: Summary
    stopping: bool = False
    # Batches on their way or just stored, for other writers to send again.
    recent: deque[Batch] = field(default_factory=lambda: deque(maxlen=20))

    def count(self, name: str, n: int = 1) -> None:
        self.summary.counts[name] += n


@dataclass(frozen=True)
class Batch:
    """Events in the shape of ingest_crossings."""

    dpus: list[str]
    times: list[datetime]
    directions: list[int]
    seqs: list[int]

    def shuffled(self) -> Batch:
        """The same events in another order."""
        order = random.sample(range(len(self.dpus)), len(self.dpus))
        return Batch(
            [self.dpus[i] for i in order],
            [self.times[i] for i in order],
            [self.directions[i] for i in order],
            [self.seqs[i] for i in order],
        )


# --- the database ---


@asynccontextmanager
async def own_database(server_url: str, name: str) -> AsyncIterator[str]:
    """A new database with the schema, its refresh job off; dropped at the end."""
    url = make_url(server_url).set(database=name).render_as_string(hide_password=False)
    drop = f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'
    await _execute(server_url, drop)
    await _execute(server_url, f'CREATE DATABASE "{name}"')
    try:
        await schema.migrate(url)
        await _execute(
            url,
            "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs "
            "WHERE proc_schema = 'occupancy' AND proc_name = 'refresh_aggregates'",
            # It may have begun meanwhile, hold the lease, and have moved the horizon to the real now, long after
            # simulated time.
            "SELECT _timescaledb_functions.stop_background_workers()",
            "UPDATE occupancy.horizon SET read_before = '-infinity', write_before = '-infinity'",
            "UPDATE occupancy.refresher SET holder = NULL, held_until = '-infinity', refreshed_at = '-infinity'",
        )
        yield url
    finally:
        await _execute(server_url, drop)


async def _execute(url: str, *commands: str) -> None:
    async with connected(url) as connection:
        for command in commands:
            await connection.execute(command)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def move_horizon_text(*, barrier: bool) -> str:
    """The product's move_horizon on simulated time, and without its barrier if so wanted."""
    text = (schema.sql_directory() / "functions" / "move_horizon.sql").read_text()
    return _replaced_once(
        _replaced_once(text, CLOCK, "stress.now() - lag"), BARRIER, BARRIER if barrier else ""
    )


def _replaced_once(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise RuntimeError(f"move_horizon.sql is expected to hold once: {old}")
    return text.replace(old, new)


async def set_up(url: str, *, barrier: bool) -> Clock:
    """A tree of spaces with doorways and DPUs, the simulated clock, and the move_horizon that follows it."""
    started = datetime.now(UTC)
    clock = Clock(started, started - timedelta(days=90))
    await _execute(
        url,
        # two buildings with floors with rooms; doorways between neighbours, and from some spaces to outside
        f"""INSERT INTO occupancy.space (organization, space_id, name, parent)
            SELECT 1, 'space-' || i, 'Space ' || i, CASE WHEN i > 2 THEN (i - 1) / 3 + 1 END
            FROM generate_series(1, {SPACES}) AS i""",
        f"""INSERT INTO occupancy.doorway (organization, doorway_id, name, side_a, side_b)
            SELECT 1, 'door-' || i, 'Door ' || i, i % {SPACES} + 1,
              CASE WHEN i % 5 > 0 THEN (i * 7 + 3) % {SPACES} + 1 END
            FROM generate_series(1, {DOORWAYS}) AS i""",
        f"""INSERT INTO occupancy.dpu (organization, dpu_id, name)
            SELECT 1, 'dpu-' || i, 'DPU ' || i FROM generate_series(1, {DPUS}) AS i""",
        f"""INSERT INTO occupancy.placement (organization, dpu, doorway, facing)
            SELECT 1, i, i, CASE WHEN i % 2 = 0 THEN 'a' ELSE 'b' END FROM generate_series(1, {DPUS}) AS i""",
        # some spaces with a rule, over a change of clocks; the others count from the beginning
        "UPDATE occupancy.space SET reset_at = '04:00', time_zone = 'Europe/Zurich' WHERE id % 4 = 0",
        clock.as_sql(),
        move_horizon_text(barrier=barrier),
    )
    return clock


# --- the actors ---


async def write(run: Run) -> None:
    """Store batches, some held open, some of them another writer's."""
    async with connected(run.url) as connection:
        while not run.stopping:
            batch = _next_batch(run)
            try:
                async with connection.transaction():
                    left = await ingest(connection, batch)
                    if random.random() < 0.3:
                        await asyncio.sleep(random.random() * 0.3)
            except asyncpg.DeadlockDetectedError as error:
                _deadlocked(run, "writer", error)
                continue
            run.count("transactions")
            run.count("events_sent", len(batch.dpus))
            run.count("events_refused", left)
            run.count("events_stored", len(batch.dpus) - left)
            await asyncio.sleep(random.random() * 0.12)


async def ingest(connection: Connection, batch: Batch) -> int:
    """How many events of the batch were not stored; it may be taken for new, whether it is or not."""
    function = random.choice(("ingest_crossings", "ingest_new_crossings"))
    rows = await connection.fetch(
        f"SELECT index FROM occupancy.{function}(1, $1, $2, $3, $4)",
        batch.dpus, batch.times, batch.directions, batch.seqs,
    )  # fmt: skip
    return len(rows)


def _next_batch(run: Run) -> Batch:
    if run.recent and random.random() < 0.2:
        return random.choice(run.recent).shuffled()
    batch = new_batch(run, random.randint(1, 25))
    run.recent.append(batch)
    return batch


def new_batch(run: Run, size: int) -> Batch:
    now = run.clock.now()
    batch = Batch([], [], [], [])
    for _ in range(size):
        delay = _delay()
        run.count("events_late", delay > timedelta(minutes=15))
        # one DPU in a hundred is not registered
        batch.dpus.append(
            f"dpu-{random.randint(1, DPUS) if random.random() < 0.99 else 1000 + random.randint(1, 9)}"
        )
        batch.times.append(now - delay)
        batch.directions.append(random.choice((1, 1, 1, -1, -1)))
        batch.seqs.append(random.randint(0, 3))
    # an event twice in a batch, and one that contradicts another
    batch.dpus.append(batch.dpus[0])
    batch.times.append(batch.times[0])
    batch.directions.append(random.choice((1, -1)))
    batch.seqs.append(batch.seqs[0])
    return batch


def _delay() -> timedelta:
    chance = random.random()
    if chance < 0.87:
        return timedelta(seconds=random.random() * 10)
    if chance < 0.97:
        return timedelta(minutes=random.random() * 4)
    if chance < 0.99:
        return timedelta(hours=random.random() * 3)
    return HISTORY * random.random()


async def refresh(run: Run) -> None:
    """A refresh after the other, each step a transaction of its own."""
    async with connected(run.url) as connection:
        while not run.stopping:
            holder = uuid4()
            try:
                complete = await refresh_once(run, connection, holder)
            except asyncpg.DeadlockDetectedError as error:
                _deadlocked(run, "refresher", error)
                complete = False
            except asyncpg.LockNotAvailableError:
                # a writer held its transaction open for too long: the next refresh tries again
                run.count("lock_timeouts")
                complete = False
            await connection.execute("SELECT occupancy.end_refresh($1, $2)", holder, complete)
            await asyncio.sleep(random.random() * 0.2)


async def refresh_once(run: Run, connection: Connection, holder: object) -> bool:
    """All steps of a refresh, as refresh_aggregates calls them."""
    if not await connection.fetchval("SELECT occupancy.take_refresh($1, '0')", holder):
        raise RuntimeError("another refresher holds the lease")
    claimed = await connection.fetchval("SELECT occupancy.claim_stale($1)", holder)
    before = await connection.fetchval("SELECT read_before FROM occupancy.horizon")
    target = await connection.fetchval("SELECT occupancy.move_horizon($1, '0')", holder)
    # a small budget, so that long marks are repaired in several steps with reads in between
    while await connection.fetchval("SELECT occupancy.repair_next($1, '10 days')", holder):
        run.count("repair_steps")
    while await connection.fetchval("SELECT occupancy.materialize_next($1, '1 day')", holder):
        run.count("materialization_steps")
    run.count("refreshes")
    run.count("repairs", claimed > 0)
    run.count("marks_repaired", claimed)
    run.count("materializations", target != before)
    return True


async def edit(run: Run) -> None:
    """Change the topology, now and in hindsight, one random edit after the other."""
    async with connected(run.url) as connection:
        while not run.stopping:
            change = random.choice(EDITS)
            try:
                async with connection.transaction():
                    await change(run, connection)
                run.count("topology_edits")
                run.count(f"edit {change.__name__.removeprefix('_')}")
            except asyncpg.CheckViolationError as error:
                if error.constraint_name not in {"space_is_not_inside_itself", "space_is_not_its_own_parent"}:
                    raise
                run.count("edits_refused")
            except asyncpg.DeadlockDetectedError as error:
                _deadlocked(run, "editor", error)
            await asyncio.sleep(random.random() * 0.8)


async def _move_dpu_now(run: Run, connection: Connection) -> None:
    await _move_dpu(connection, run.clock.now())


async def _move_dpu_back_dated(run: Run, connection: Connection) -> None:
    await _move_dpu(connection, run.clock.now() - HISTORY * random.random())


async def _move_dpu(connection: Connection, since: datetime) -> None:
    """As the service does: the new placement ends the open one, and replaces what began after it."""
    dpu = random.randint(1, DPUS)
    await connection.execute(
        "DELETE FROM occupancy.placement WHERE dpu = $1 AND valid_from >= $2", dpu, since
    )
    await connection.execute(
        "UPDATE occupancy.placement SET valid_to = $2 WHERE dpu = $1 AND valid_to > $2", dpu, since
    )
    await _place(connection, dpu, since)


async def _place(connection: Connection, dpu: int, since: datetime | None) -> None:
    await connection.execute(
        "INSERT INTO occupancy.placement (organization, dpu, doorway, facing, valid_from) "
        "VALUES (1, $1, $2, $3, coalesce($4::timestamptz, '-infinity'))",
        dpu, random.randint(1, DOORWAYS), random.choice("ab"), since,
    )  # fmt: skip


async def _place_anew(run: Run, connection: Connection) -> None:
    dpu = random.randint(1, DPUS)
    await connection.execute("DELETE FROM occupancy.placement WHERE dpu = $1", dpu)
    await _place(connection, dpu, None)


async def _turn_round(run: Run, connection: Connection) -> None:
    await connection.execute(
        "UPDATE occupancy.placement SET facing = CASE facing WHEN 'a' THEN 'b' ELSE 'a' END WHERE id = "
        "(SELECT id FROM occupancy.placement ORDER BY random() LIMIT 1)"
    )


async def _rewire_doorway(run: Run, connection: Connection) -> None:
    side_a, side_b = random.sample([None, *range(1, SPACES + 1)], 2)
    await connection.execute(
        "UPDATE occupancy.doorway SET side_a = $2, side_b = $3 WHERE id = $1",
        random.randint(1, DOORWAYS), side_a, side_b,
    )  # fmt: skip


async def _move_space(run: Run, connection: Connection) -> None:
    await connection.execute(
        "UPDATE occupancy.space SET parent = $2 WHERE id = $1",
        random.randint(1, SPACES), random.choice([None, *range(1, SPACES + 1)]),
    )  # fmt: skip


async def _state_count(run: Run, connection: Connection) -> None:
    instant = random.choice([*run.recent[-1].times[:1], run.clock.now() - HISTORY * random.random()])
    await connection.execute(
        "INSERT INTO occupancy.reset (space, at, count) VALUES ($1, $2, $3) "
        "ON CONFLICT (space, at) DO NOTHING",
        random.randint(1, SPACES), instant, random.randint(0, 50),
    )  # fmt: skip


async def _withdraw_count(run: Run, connection: Connection) -> None:
    await connection.execute("DELETE FROM occupancy.reset WHERE space = $1", random.randint(1, SPACES))


async def _change_daily_reset(run: Run, connection: Connection) -> None:
    await connection.execute(
        "UPDATE occupancy.space SET reset_at = $2, time_zone = $3 WHERE id = $1",
        random.randint(1, SPACES),
        random.choice([None, None, datetime(2000, 1, 1, random.randrange(24), random.randrange(60)).time()]),  # noqa: DTZ001
        random.choice(("UTC", "Europe/Zurich", "Asia/Kathmandu")),
    )


Edit: TypeAlias = Callable[[Run, Connection], Awaitable[None]]
EDITS: tuple[Any, ...] = (
    _move_dpu_now, _move_dpu_back_dated, _place_anew, _turn_round, _rewire_doorway, _move_space,
    _state_count, _withdraw_count, _change_daily_reset,
)  # fmt: skip


async def read(run: Run) -> None:
    """Compare counts with the plain sum, of one space or of many."""
    async with connected(run.url) as connection:
        one, many = await connection.prepare(COMPARE_ONE), await connection.prepare(COMPARE_MANY)
        while not run.stopping:
            instant = _instant(run)
            try:
                if random.random() < 0.05:
                    rows = await many.fetch(random.sample(range(1, SPACES + 1), SPACES // 2), instant)
                else:
                    rows = await one.fetch(random.randint(1, SPACES), instant)
            except asyncpg.DeadlockDetectedError as error:
                _deadlocked(run, "reader", error)
                continue
            for row in rows:
                _judge(run, row, instant)


def _instant(run: Run) -> datetime:
    """Mostly near the horizon, where it is hard; also the very instants of events and of buckets."""
    now = run.clock.now()
    chance = random.random()
    if chance < 0.5:
        return now - timedelta(minutes=random.random() * 30)
    if chance < 0.65:
        quarter = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
        return quarter - timedelta(minutes=15 * random.randrange(3), microseconds=random.randint(-1, 1))
    if chance < 0.75 and run.recent:
        return random.choice(random.choice(run.recent).times)
    return now - random.choice((timedelta(hours=3), timedelta(days=1), HISTORY)) * random.random()


def _judge(run: Run, row: asyncpg.Record, instant: datetime) -> None:
    run.count("reads")
    run.count("aggregated_reads", row["aggregated_crossings"] > 0)
    run.count("mixed_reads", row["aggregated_crossings"] > 0 and row["tail_crossings"] > 0)
    if not row["same"]:
        run.count("wrong")
        if len(run.summary.examples) < 5:
            run.summary.examples.append(f"{instant.isoformat()}: {dict(row)!r}")


def _deadlocked(run: Run, who: str, error: asyncpg.DeadlockDetectedError) -> None:
    run.count("deadlocks")
    if len(run.summary.examples) < 5:
        run.summary.examples.append(f"{who}: {error} {error.detail}")


# --- the run ---


async def stress(server_url: str, seconds: float, *, barrier: bool = True) -> dict[str, Any]:
    """Let all actors run for so long, then refresh to the end and look at what is stored."""
    name = f"stress_exactness_{os.getpid()}"
    async with own_database(server_url, name) as url:
        clock = await set_up(url, barrier=barrier)
        run = Run(url, clock, Summary(barrier))
        await _write_history(run)
        actors = [write] * WRITERS + [refresh, edit] + [read] * READERS
        async with asyncio.TaskGroup() as group:
            for actor in actors:
                group.create_task(actor(run))
            await asyncio.sleep(seconds)
            run.stopping = True
        await _check_the_end(run)
    return {"seconds": seconds, **run.summary.as_dict()}


async def _write_history(run: Run) -> None:
    """Something to read, move and repair from the first second on."""
    async with connected(run.url) as connection:
        for _ in range(8):
            batch = new_batch(run, 1000)
            batch.times[:] = [run.clock.now() - HISTORY * random.random() for _ in batch.times]
            left = await ingest(connection, batch)
            run.count("events_stored", len(batch.dpus) - left)


async def _check_the_end(run: Run) -> None:
    """With everything repaired, the stored aggregates and effects must be those that follow."""
    async with connected(run.url) as connection:
        holder = uuid4()
        await refresh_once(run, connection, holder)
        for level, width in LEVELS.items():
            run.count(
                "wrong_rows_at_the_end", await connection.fetchval(WRONG_ROWS.format(level=level), width)
            )
        run.count("wrong_effects_at_the_end", await connection.fetchval(WRONG_EFFECTS))
        stored = await connection.fetchval("SELECT count(*) FROM occupancy.crossing")
        run.count("crossings_lost_or_doubled", abs(stored - run.summary.counts["events_stored"]))


def main() -> int:
    """Run and print the summary; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument(
        "--no-barrier", action="store_true", help="leave the exclusive lock out: must find wrong reads"
    )
    arguments = parser.parse_args()
    url = os.environ.get("OCCUPANCY_TEST_DATABASE_URL")
    if url is None:
        sys.exit("set OCCUPANCY_TEST_DATABASE_URL to a TimescaleDB with several sessions")
    summary = asyncio.run(stress(url, arguments.seconds, barrier=not arguments.no_barrier))
    json.dump(summary, sys.stdout, indent=2)
    sys.stdout.write("\n")
    bad = (
        "wrong",
        "deadlocks",
        "wrong_rows_at_the_end",
        "wrong_effects_at_the_end",
        "crossings_lost_or_doubled",
    )
    return int(any(summary[name] for name in bad))


if __name__ == "__main__":
    sys.exit(main())
