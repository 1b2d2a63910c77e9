"""Tokens, and the book of samples that says how fresh a replica is."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from occupancy.database import Database
from occupancy.errors import DatabaseUnavailable, InvalidInput, ReplicaUnusable
from occupancy.reading.position import History, Position, Standing
from occupancy.reading.reads import Reads, Replication
from occupancy.reading.replica import Replica, Unusable
from occupancy.reading.samples import _GRAIN, _MOST, Sample, Samples
from occupancy.reading.watermark import Watermark

HERE = History(7711098550917587617, 5, 1)
STARTED = datetime(2026, 11, 23, 2, tzinfo=UTC)

histories = st.builds(
    History, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)
)
positions = st.builds(Position, histories, st.integers(0, 2**64 - 1))


def primary(lsn: int, history: History = HERE) -> Standing:
    return Standing(Position(history, lsn), is_standby=False, started_at=STARTED)


def standby(lsn: int, history: History = HERE) -> Standing:
    return Standing(Position(history, lsn), is_standby=True, started_at=STARTED + timedelta(minutes=1))


# --- tokens ---


@given(positions)
def test_a_token_stands_for_its_position(position: Position) -> None:
    token = position.token()
    assert Position.of(token) == position
    # It goes into a header as it is, and beside others.
    assert token.isascii()
    assert not set(token) & set(', ;="')


@given(st.one_of(st.text(max_size=60), positions.map(lambda position: position.token()[:-1])))
def test_what_is_no_token_is_said_to_be_none(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Position.of(text)
    assert caught.value.field == "Occupancy-Position"
    assert caught.value.value == text


def test_a_token_has_one_spelling() -> None:
    token = Position(HERE, 1).token()
    # the last letter holds bits that stand for nothing
    others = [token[:-1] + letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter != token[-1]]
    for other in others:
        try:
            assert Position.of(other).token() == other
        except InvalidInput:
            continue


# --- samples ---


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 30)), min_size=1, max_size=60),
    st.integers(0, 1000),
)
def test_a_replica_is_never_said_to_hold_more_than_it_does(
    steps: list[tuple[int, int]], reached: int
) -> None:
    """Against the plain list of all samples: never a later instant, and not much earlier a one."""
    samples, everything = Samples(), []
    instant = lsn = 0
    for later, further in steps:
        instant += later * _GRAIN // 10
        lsn += further
        samples.add(instant, primary(lsn))
        everything.append(Sample(instant, lsn))
    exact = max((sample.instant for sample in everything if sample.lsn <= reached), default=None)
    found = samples.reached(standby(reached))
    if found is None:
        # Only what was replaced within a grain of the first sample is not known any more.
        assert exact is None or exact - everything[0].instant < 2 * _GRAIN
    else:
        assert exact is not None
        assert found.lsn <= reached
        assert found.instant <= exact
        assert exact - found.instant < 3 * _GRAIN + 40 * _GRAIN // 10


def test_while_nothing_is_written_an_idle_replica_stays_fresh() -> None:
    samples = Samples()
    for second in range(10):
        samples.add(second * 10**9, primary(100))
    assert samples.reached(standby(100)) == Sample(9 * 10**9, 100)
    assert samples.reached(standby(99)) is None
    assert len(samples._samples) == 1


def test_samples_that_come_quickly_do_not_replace_each_other_for_ever() -> None:
    samples = Samples()
    for number in range(1000):
        samples.add(number * _GRAIN // 10, primary(number))
    found = samples.reached(standby(500))
    assert found is not None
    assert 480 <= found.lsn <= 500


def test_what_is_long_ago_is_known_less_finely_but_known() -> None:
    samples = Samples()
    for number in range(10 * _MOST):
        samples.add(number * 10**9, primary(number))
    assert len(samples._samples) <= _MOST
    for lsn in (1, _MOST, 5 * _MOST, 10 * _MOST - 1):
        found = samples.reached(standby(lsn))
        assert found is not None
        assert found.lsn <= lsn
    newest = samples.reached(standby(10 * _MOST))
    assert newest is not None
    assert newest.lsn == 10 * _MOST - 1


@pytest.mark.parametrize(
    "server",
    [
        standby(100, replace(HERE, system=1)),
        standby(100, replace(HERE, database=6)),
        standby(100, replace(HERE, timeline=2)),
        # promoted: it goes its own way, though it may still have the number of the timeline
        Standing(Position(HERE, 100), is_standby=False, started_at=STARTED + timedelta(minutes=1)),
    ],
    ids=["system", "database", "timeline", "promoted"],
)
def test_no_server_but_a_replica_of_the_primary_is_believed(server: Standing) -> None:
    samples = Samples()
    assert samples.reached(server) is None
    samples.add(1, primary(50))
    assert not samples.serves(server)
    assert samples.reached(server) is None
    assert samples.reached(standby(100)) == Sample(1, 50)
    # the primary itself is as good
    assert samples.reached(primary(100)) == Sample(1, 50)


def test_after_a_failover_old_samples_say_nothing() -> None:
    samples = Samples()
    samples.add(1, primary(50))
    samples.add(2, primary(40, replace(HERE, timeline=2)))
    assert samples.reached(standby(60)) is None
    assert samples.reached(standby(60, replace(HERE, timeline=2))) == Sample(2, 40)
    assert samples.reached(standby(39, replace(HERE, timeline=2))) is None
    samples.add(3, primary(60, replace(HERE, timeline=3)))
    assert samples.reached(standby(55, replace(HERE, timeline=3))) is None


def test_an_instant_is_never_said_to_be_later_than_it_was() -> None:
    before = datetime.now(UTC)
    sample = Sample(time.monotonic_ns(), 0)
    after = datetime.now(UTC)
    time.sleep(0.01)
    for _ in range(100):
        # a microsecond for the two clocks, which are not read at once
        assert before - timedelta(milliseconds=5) < sample.as_of() <= after + timedelta(microseconds=1)
    assert timedelta(milliseconds=10) <= sample.age() < timedelta(seconds=5)


# --- the reads of a request ---


class FakeReplica:
    """A replica that says which position each connection was asked to hold, and has none to give once it is gone."""

    def __init__(self) -> None:
        self.asked: list[tuple[Position | None, bool]] = []
        self.gone = False

    async def enter(
        self, _stack: AsyncExitStack, at_least: Position | None, *, may_be_old: bool
    ) -> tuple[FakeConnection, Sample]:
        if self.gone:
            raise Unusable("unreachable", "the replica is gone")
        self.asked.append((at_least, may_be_old))
        return FakeConnection("replica"), Sample(time.monotonic_ns(), 70)


class FakeConnection:
    """Says where it leads."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def fetchval(self, _query: str) -> str:
        return self._name


class FakeDatabase:
    """A primary."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[FakeConnection]:
        yield FakeConnection("primary")


def request(wanted: list[Position], *, fallback: bool = True) -> tuple[Reads, FakeReplica, FakePrimary]:
    samples, replica, fake = Samples(), FakeReplica(), FakePrimary()
    samples.add(1, primary(50))
    watermark = Watermark(cast(Database, fake), samples)
    replication = Replication(samples, watermark, cast(Replica, replica), fallback)
    return Reads(cast(Database, FakeDatabase()), replication, wanted), replica, fake


async def where(reads: Reads) -> str:
    async with reads.connection() as connection:
        found: str = await connection.fetchval("SELECT 1")
        return found


async def test_later_reads_of_a_request_hold_what_the_first_one_held() -> None:
    reads, replica, _ = request([])
    assert [await where(reads), await where(reads)] == ["replica", "replica"]
    # what the answer says of its freshness is said of all of it, however old it is when the last page is read
    assert replica.asked == [(None, False), (Position(HERE, 70), True)]


@pytest.mark.parametrize("lsns", [[60, 90, 80], [90], [90, 90]])
async def test_the_furthest_of_several_tokens_counts(lsns: list[int]) -> None:
    reads, replica, fake = request([Position(HERE, lsn) for lsn in lsns])
    await where(reads)
    await where(reads)
    assert replica.asked == [(Position(HERE, 90), False), (Position(HERE, 90), True)]
    assert fake.asked == 0


@pytest.mark.parametrize("other", [replace(HERE, system=1), replace(HERE, timeline=2)])
async def test_for_a_token_of_elsewhere_the_primary_says_how_far_it_is(other: History) -> None:
    reads, replica, fake = request([Position(HERE, 10**6), Position(other, 1)])
    fake.lsn = itertools.count(2 * 10**6)
    await where(reads)
    assert fake.asked == 1
    assert replica.asked == [(Position(HERE, 2 * 10**6), False)]


async def test_once_at_the_primary_a_request_stays_there() -> None:
    reads, replica, _ = request([])
    assert await where(reads) == "replica"
    first = reads.freshness
    replica.gone = True
    await asyncio.sleep(0.02)
    assert await where(reads) == "primary"
    replica.gone = False
    assert await where(reads) == "primary"
    assert first is not None
    assert reads.freshness is not None
    assert reads.freshness.source == "primary"
    # no fresher than its oldest part
    assert reads.freshness.as_of <= first.as_of + timedelta(milliseconds=5)


async def test_where_the_primary_may_not_be_asked_it_is_not() -> None:
    reads, replica, _ = request([], fallback=False)
    assert await where(reads) == "replica"
    replica.gone = True
    with pytest.raises(ReplicaUnusable, match="the replica is gone"):
        await where(reads)


# --- the watermark ---


class FakePrimary:
    """A database whose every statement takes a moment, and that writes all the time."""

    def __init__(self) -> None:
        self.lsn = itertools.count(1)
        self.asked = 0
        self.failing = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[FakePrimary]:
        yield self

    async def fetchrow(self, _query: str) -> dict[str, Any]:
        if self.failing:
            raise DatabaseUnavailable("gone")
        self.asked += 1
        lsn = next(self.lsn)
        await asyncio.sleep(0.01)
        return {"lsn": lsn, "is_standby": False, "started_at": STARTED,
                "system": HERE.system, "database": HERE.database, "timeline": HERE.timeline}  # fmt: skip


async def test_many_share_a_statement_but_none_that_was_sent_before_they_asked() -> None:
    fake = FakePrimary()
    watermark = Watermark(cast(Database, fake), Samples())
    first = asyncio.create_task(watermark.now())
    await asyncio.sleep(0.005)
    assert fake.asked == 1
    others = [asyncio.create_task(watermark.now()) for _ in range(50)]
    assert (await first).lsn == 1
    assert {(await other).lsn for other in others} == {2}
    assert fake.asked == 2


async def test_whoever_gives_up_takes_nobody_along() -> None:
    fake = FakePrimary()
    watermark = Watermark(cast(Database, fake), Samples())
    impatient, patient = (asyncio.create_task(watermark.now()) for _ in range(2))
    await asyncio.sleep(0.002)
    impatient.cancel()
    assert (await patient).lsn == 1


async def test_a_failure_is_told_to_all_who_wait_and_over_with_the_next() -> None:
    fake = FakePrimary()
    watermark = Watermark(cast(Database, fake), Samples())
    fake.failing = True
    for error in await asyncio.gather(*(watermark.now() for _ in range(3)), return_exceptions=True):
        assert isinstance(error, DatabaseUnavailable)
    fake.failing = False
    assert (await watermark.now()).lsn == 1


async def test_the_instant_of_a_sample_is_before_its_statement() -> None:
    fake = FakePrimary()
    samples = Samples()
    before = time.monotonic_ns()
    await Watermark(cast(Database, fake), samples).now()
    found = samples.reached(standby(1))
    assert found is not None
    assert before <= found.instant <= time.monotonic_ns() - 9_000_000
