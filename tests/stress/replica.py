"""Devices that send and callers that read on a streaming replica: is every answer as fresh as it says?

A primary and its replica are made for it (see tests/replication/cluster.py), with a service on both. Replay is paused
now and then, for longer than the replica may be behind. Every event is one more entry, so that a right answer lies
between two numbers: all that was acknowledged before its Occupancy-As-Of, and all that was sent before it came. A read
with the token of a write has to include the write, one with `latest` all that was acknowledged before it was sent.

With --break the service is broken on purpose: then there must be wrong answers, or the test has no teeth.

    OCCUPANCY_TEST_DATABASE_URL=postgresql://… python -m tests.stress.replica --seconds 60
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import random
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from unittest import mock

import asyncpg
import httpx
from asgi_lifespan import LifespanManager
from prometheus_client import REGISTRY

from occupancy.app import create_app
from occupancy.reading.position import Position, standing
from occupancy.reading.reads import Reads
from occupancy.reading.samples import Sample, Samples
from occupancy.reading.watermark import Watermark
from occupancy.settings import Settings
from tests.replication.cluster import Binaries, Pair, binaries, running_pair, until

KEY = "a-key-for-tests-only"
ROOMS = 4
WRITERS = 2
READERS = 3
HISTORY = timedelta(days=40)
MAX_LAG = timedelta(seconds=1)
# How far back the ledger knows single events; no answer is older.
MEMORY = timedelta(minutes=1)


@dataclass
class Batch:
    """Events of one request, and the instant (aware) after which they are known to be acknowledged."""

    events: list[tuple[str, int, datetime]]
    rooms: Counter[str]
    acknowledged_at: datetime | None = None

    def is_acknowledged(self, before: datetime) -> bool:
        """Whether it was acknowledged before an instant."""
        return self.acknowledged_at is not None and self.acknowledged_at < before


class Ledger:
    """What was sent, in order; of what was acknowledged long ago, the sum."""

    def __init__(self) -> None:
        self.seqs: Iterator[int] = count()
        self._batches: deque[Batch] = deque()
        self._settled: Counter[str] = Counter()

    def enter(self, batch: Batch) -> None:
        """Note a batch that is about to be sent."""
        self._batches.append(batch)
        while self._batches[0].is_acknowledged(datetime.now(UTC) - MEMORY):
            self._settled.update(self._batches.popleft().rooms)

    def acknowledged(self, before: datetime) -> Counter[str]:
        """Events by room that were acknowledged before an instant, of the last minutes."""
        return self._sum(batch for batch in self._batches if batch.is_acknowledged(before))

    def sent(self) -> Counter[str]:
        """Events by room that were sent until now."""
        return self._sum(self._batches)

    def acknowledged_seqs(self, room: str, before: datetime, start: datetime) -> set[int]:
        """The events of a room from `start` on that were acknowledged before an instant, both of the last minutes."""
        return {
            seq
            for batch in self._batches
            if batch.is_acknowledged(before)
            for of_room, seq, time in batch.events
            if of_room == room and time >= start
        }

    def _sum(self, batches: Iterable[Batch]) -> Counter[str]:
        total = self._settled.copy()
        for batch in batches:
            total.update(batch.rooms)
        return total


@dataclass
class Run:
    """What the actors share."""

    pair: Pair
    caller: httpx.AsyncClient
    ledger: Ledger = field(default_factory=Ledger)
    counts: Counter[str] = field(default_factory=Counter)
    largest_lag: float = 0.0
    examples: list[str] = field(default_factory=list)
    stopping: bool = False
    fallbacks_before: dict[str, float] = field(default_factory=dict)

    async def get(self, path: str, *, position: str | None = None, **params: Any) -> httpx.Response:
        """An answer, which has to be one."""
        headers = {} if position is None else {"Occupancy-Position": position}
        answer = await self.caller.get(path, params=params, headers=headers)
        if answer.status_code != 200 or "Occupancy-Source" not in answer.headers:
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text} {answer.headers}")
        self.counts["reads"] += 1
        self.counts[f"reads_{answer.headers['Occupancy-Source']}"] += 1
        self.largest_lag = max(self.largest_lag, float(answer.headers["Occupancy-Lag"]))
        return answer

    def judge(self, what: str, found: Counter[str], at_least: Counter[str], answer: httpx.Response) -> None:
        """Compare events by room with the bounds."""
        sent = self.ledger.sent()
        if at_least <= found <= sent:
            return
        self.wrong(f"{what}: {dict(found)}, at least {dict(at_least)}, at most {dict(sent)}", answer)

    def wrong(self, what: str, answer: httpx.Response) -> None:
        """Note an answer that is not right."""
        self.counts["wrong"] += 1
        if len(self.examples) < 5:
            source, instant = answer.headers["Occupancy-Source"], answer.headers["Occupancy-As-Of"]
            self.examples.append(f"{what}; {source} as of {instant}")

    def summary(self) -> dict[str, Any]:
        """What happened, and what was wrong."""
        names = ("reads", "wrong", "reads_replica", "reads_primary", "reads_with_token", "reads_with_token_replica",
                 "reads_latest", "reads_latest_replica", "files", "conflicts", "requests_sent",
                 "events_sent", "pauses")  # fmt: skip
        return {
            **{name: self.counts[name] for name in names},
            "largest_lag_seconds": self.largest_lag,
            "fallbacks": {
                reason: value - self.fallbacks_before.get(reason, 0) for reason, value in fallbacks().items()
            },
            "examples": self.examples,
        }


def conflicts() -> int:
    """How many statements the replica has ended, in the life of this process."""
    return int(REGISTRY.get_sample_value("occupancy_read_conflicts_total") or 0)


def fallbacks() -> dict[str, float]:
    """How often the primary answered in place of the replica, by reason, in the life of this process."""
    return {
        sample.labels["reason"]: sample.value
        for metric in REGISTRY.collect()
        if metric.name == "occupancy_read_fallbacks"
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


def as_of(answer: httpx.Response) -> datetime:
    """The instant before which everything acknowledged is in an answer."""
    return datetime.fromisoformat(answer.headers["Occupancy-As-Of"])


# --- the service ---


@asynccontextmanager
async def service(primary: str, replica: str, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of a service that stores on the primary and reads on the replica."""
    settings = Settings(
        **{
            "api_key": KEY, "read_database_url": replica, "read_max_lag": MAX_LAG, "refresh_lag": timedelta(0),
            "refresh_interval": timedelta(seconds=0.2), "refresh_step": timedelta(days=5), **more,
        }
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        manager = await stack.enter_async_context(
            LifespanManager(create_app(settings, primary), startup_timeout=20, shutdown_timeout=20)
        )
        transport = httpx.ASGITransport(app=manager.app)
        headers = {"Authorization": f"Bearer {KEY}"}
        yield await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)
        )


async def build(caller: httpx.AsyncClient) -> None:
    """A campus of rooms, each with a doorway to outside and a DPU, unless it is there."""
    if (await caller.get("/v1/spaces/campus")).status_code == 200:
        return
    await _done(caller.put("/v1/spaces/campus", json={}))
    for number in range(ROOMS):
        room = f"room-{number}"
        await _done(caller.put(f"/v1/spaces/{room}", json={"parent_id": "campus"}))
        await _done(caller.put(f"/v1/doorways/{room}", json={"side_a": room, "side_b": None}))
        await _done(caller.put(f"/v1/dpus/{room}", json={}))
        placement = {"doorway_id": room, "facing": "a", "from": None}
        await _done(caller.post(f"/v1/dpus/{room}/placements", json=placement))


async def _done(request: Awaitable[httpx.Response]) -> httpx.Response:
    answer = await request
    if not answer.is_success:
        raise RuntimeError(answer.text)
    return answer


# --- the actors ---


async def write(run: Run) -> None:
    """Send batches; read some of them back with their tokens."""
    while not run.stopping:
        token, at_least = await send(run, random.randint(1, 20))
        if random.random() < 0.3:
            answer = await run.get("/v1/counts", parent_id="campus", position=token)
            _count_source(run, "reads_with_token", answer)
            run.judge("with its token", _entries(answer), at_least, answer)
        await asyncio.sleep(random.random() * 0.1)


async def write_elsewhere(run: Run) -> None:
    """Store batches as another process would: the service that is read from knows nothing of them."""
    connection = await asyncpg.connect(run.pair.primary.url())
    try:
        while not run.stopping:
            batch = _new_batch(run, random.randint(1, 5))
            await connection.fetch(
                "SELECT code FROM occupancy.ingest_crossings(1, $1, $2, $3, $4)",
                [room for room, _, _ in batch.events],
                [time for _, _, time in batch.events],
                [1 for _ in batch.events],
                [seq for _, seq, _ in batch.events],
            )
            _acknowledged(run, batch)
            await asyncio.sleep(random.random() * 0.02)
    finally:
        await connection.close()


def _new_batch(run: Run, size: int) -> Batch:
    """New events, some of them long late, that are about to be sent."""
    events = [_event(run) for _ in range(size)]
    batch = Batch(events, Counter(room for room, _, _ in events))
    run.ledger.enter(batch)
    return batch


def _acknowledged(run: Run, batch: Batch) -> None:
    batch.acknowledged_at = datetime.now(UTC)
    run.counts["requests_sent"] += 1
    run.counts["events_sent"] += len(batch.events)


async def send(run: Run, size: int) -> tuple[str, Counter[str]]:
    """Store new events. Returns the token, and what it stands for at least."""
    before = run.ledger.acknowledged(datetime.now(UTC))
    batch = _new_batch(run, size)
    sent = [
        {"dpu_id": room, "timestamp": time.isoformat(), "direction": 1, "seq": seq}
        for room, seq, time in batch.events
    ]
    answer = await _done(run.caller.post("/v1/events", json=sent))
    _acknowledged(run, batch)
    if answer.json()["accepted"] != size:
        raise RuntimeError(answer.text)
    return answer.headers["Occupancy-Position"], before + batch.rooms


def _event(run: Run) -> tuple[str, int, datetime]:
    delay = HISTORY * random.random() if random.random() < 0.1 else timedelta(seconds=random.random())
    at = datetime.now(UTC) - delay - timedelta(milliseconds=1)
    return f"room-{random.randrange(ROOMS)}", next(run.ledger.seqs), at


async def read(run: Run) -> None:
    """Ask one thing after the other."""
    while not run.stopping:
        await random.choice((read_counts, read_counts, read_counts, read_latest, read_series, read_events))(
            run
        )
        await asyncio.sleep(random.random() * 0.01)


async def read_counts(run: Run) -> None:
    """The counts of all rooms."""
    answer = await run.get("/v1/counts", parent_id="campus")
    run.judge("counts", _entries(answer), run.ledger.acknowledged(as_of(answer)), answer)


async def read_latest(run: Run) -> None:
    """The counts with everything that was acknowledged before they were asked for."""
    at_least = run.ledger.acknowledged(datetime.now(UTC))
    answer = await run.get("/v1/counts", parent_id="campus", position="latest")
    _count_source(run, "reads_latest", answer)
    run.judge("latest", _entries(answer), at_least, answer)


async def read_series(run: Run) -> None:
    """Entries by day, of all rooms, as a file."""
    start = datetime.now(UTC) - HISTORY - timedelta(days=1)
    answer = await run.get(
        "/v1/series", parent_id="campus", start=start.isoformat(), interval="1d", format="csv"
    )
    run.counts["files"] += 1
    found: Counter[str] = Counter()
    for row in csv.DictReader(io.StringIO(answer.text)):
        if row["space_id"] != "campus":
            found[row["space_id"]] += int(row["entries"])
    run.judge("series", found, run.ledger.acknowledged(as_of(answer)), answer)


async def read_events(run: Run) -> None:
    """Single events of a DPU, as a file: those that were acknowledged in time, each of them."""
    room, start = f"room-{random.randrange(ROOMS)}", datetime.now(UTC) - timedelta(seconds=20)
    answer = await run.get(f"/v1/dpus/{room}/events", start=start.isoformat(), format="ndjson")
    run.counts["files"] += 1
    seqs = [json.loads(line)["seq"] for line in answer.text.splitlines()]
    missing = run.ledger.acknowledged_seqs(room, as_of(answer), start) - set(seqs)
    if missing or len(set(seqs)) != len(seqs):
        run.wrong(f"events of {room}: without {sorted(missing)[:5]}", answer)


def _count_source(run: Run, name: str, answer: httpx.Response) -> None:
    run.counts[name] += 1
    run.counts[f"{name}_replica"] += answer.headers["Occupancy-Source"] == "replica"


def _entries(answer: httpx.Response) -> Counter[str]:
    return Counter({item["space_id"]: item["entries"] for item in answer.json()["items"]})


async def pause_replay(run: Run) -> None:
    """Let the replica fall behind now and then, also by more than it may be."""
    while not run.stopping:
        await asyncio.sleep(random.random() * 2)
        # A statement may be ended there at any time, this one too.
        with suppress(asyncpg.SerializationError):
            await run.pair.replica.execute("SELECT pg_wal_replay_pause()")
        run.counts["pauses"] += 1
        await asyncio.sleep(
            random.choice((0.2, 0.6, 2.5)) * (0.5 + random.random() / 2) * MAX_LAG.total_seconds()
        )
        await resume_replay(run.pair)


async def resume_replay(pair: Pair) -> None:
    """Have the replica go on, and see that it does."""

    async def goes_on() -> object:
        try:
            await pair.replica.execute("SELECT pg_wal_replay_resume()")
            return not await pair.replica.value("SELECT pg_is_wal_replay_paused()")
        except asyncpg.SerializationError:
            return False

    await until(goes_on)


# --- broken on purpose ---


@contextmanager
def broken(how: str | None) -> Iterator[None]:
    """The service with one of its promises left out; None: as it is."""
    with ExitStack() as stack:
        if how is not None:
            owner, name, replacement = BREAKS[how]
            stack.enter_context(mock.patch.object(owner, name, replacement))
        yield


async def _ask_before_the_instant(self: Any) -> Position:
    async with self._primary.connection() as connection:
        found = await standing(connection)
        assert found is not None
    await asyncio.sleep(0.05)
    self._samples.add(time.monotonic_ns(), found)
    return found.position


def _newest_sample(self: Any, server: Any) -> Sample | None:
    sample: Sample | None = self._samples[-1] if self._samples else None
    return sample


async def _nobody_waits(self: Any, replication: Any) -> None:
    return None


BREAKS: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "the primary's position is taken before the instant": (Watermark, "_ask", _ask_before_the_instant),
    "the replica's position is not looked at": (Samples, "reached", _newest_sample),
    "tokens are ignored": (Reads, "_asked_for", _nobody_waits),
}


# --- the run ---


async def stress(programs: Binaries, seconds: float, how: str | None = None) -> dict[str, Any]:
    """Let all actors run for so long."""
    async with running_pair(programs) as pair:
        with broken(how):
            async with service(pair.primary.url(), pair.replica.url()) as caller:
                await build(caller)
                run = Run(pair, caller, fallbacks_before=fallbacks())
                conflicts_before = conflicts()
                async with asyncio.TaskGroup() as group:
                    for actor in [write] * WRITERS + [write_elsewhere] + [read] * READERS + [pause_replay]:
                        group.create_task(actor(run))
                    await asyncio.sleep(seconds)
                    run.stopping = True
                run.counts["conflicts"] = conflicts() - conflicts_before
    return {"seconds": seconds, "broken": how, **run.summary()}


def main() -> int:
    """Run and print the summary; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--break", dest="how", choices=tuple(BREAKS), help="must find wrong answers")
    arguments = parser.parse_args()
    programs = binaries()
    if isinstance(programs, str):
        sys.exit(programs)
    summary = asyncio.run(stress(programs, arguments.seconds, arguments.how))
    json.dump(summary, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return int(summary["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
