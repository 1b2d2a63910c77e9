"""A service on a primary and its streaming replica, while one of the two is behind, hangs, dies or is promoted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import asyncpg
import httpx
import pytest
from asgi_lifespan import LifespanManager

from occupancy.app import create_app
from occupancy.database import Database
from occupancy.errors import DatabaseUnavailable
from occupancy.reading.database import ReadDatabase, read_database
from occupancy.settings import Settings
from tests.replication.cluster import SERVER_URL, Binaries, Pair, running_pair, until
from tests.stress.replica import KEY, build, conflicts, resume_replay, service

pytestmark = pytest.mark.native

_seqs = count()


class Caller:
    """Asks a service, and counts what it sends."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.entries = 0

    async def enter(self) -> str:
        """One more person walks in. Returns the token."""
        at = datetime.now(UTC) - timedelta(seconds=1)
        event = {"dpu_id": "room-0", "timestamp": at.isoformat(), "direction": 1, "seq": next(_seqs)}
        answer = await self.http.post("/v1/events", json=event)
        assert answer.json()["accepted"] == 1, answer.text
        self.entries += 1
        return answer.headers["Occupancy-Position"]

    async def count(self, position: str | None = None) -> httpx.Response:
        """The count of the room."""
        headers = {} if position is None else {"Occupancy-Position": position}
        return await self.http.get("/v1/spaces/room-0/count", headers=headers)

    async def is_answered_by(self, source: str) -> bool:
        """Whether a read is answered there."""
        found: str | None = (await self.count()).headers.get("Occupancy-Source")
        return found == source


def entries(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    found: int = answer.json()["entries"]
    return found


async def calling(pair: Pair, **settings: Any) -> AsyncIterator[Caller]:
    await pair.caught_up()
    async with service(
        pair.primary.url(),
        pair.replica.url(),
        **{"refresh": "off", "read_max_lag": timedelta(seconds=30)} | settings,
    ) as http:
        await build(http)
        await pair.caught_up()
        caller = Caller(http)
        caller.entries = entries(await caller.count("latest"))
        yield caller


@pytest.fixture
async def caller(pair: Pair) -> AsyncIterator[Caller]:
    """A caller of a service that may answer from a replica half a minute behind."""
    async for opened in calling(pair):
        yield opened


@pytest.fixture
async def hurried(pair: Pair) -> AsyncIterator[Caller]:
    """A caller of a service whose replica may be one second behind, and that never reads on the primary."""
    async for opened in calling(pair, read_max_lag=timedelta(seconds=1), read_fallback="none"):
        yield opened


async def test_a_replica_that_is_behind_says_so_and_tokens_lead_to_the_primary(
    pair: Pair, caller: Caller
) -> None:
    first = await caller.enter()
    assert entries(await caller.count("latest")) == caller.entries
    before = caller.entries
    await asyncio.sleep(1.2)
    await pair.caught_up()
    await pair.replica.execute("SELECT pg_wal_replay_pause()")
    try:
        await until(lambda: pair.replica.value("SELECT pg_get_wal_replay_pause_state() = 'paused'"))
        paused_at = datetime.now(UTC)
        token = await caller.enter()
        await asyncio.sleep(2)

        old = await caller.count()
        assert entries(old) == before
        assert old.headers["Occupancy-Source"] == "replica"
        assert datetime.fromisoformat(old.headers["Occupancy-As-Of"]) <= datetime.now(UTC) - timedelta(
            seconds=2
        )
        assert float(old.headers["Occupancy-Lag"]) >= 2
        # not older than it is, either: the second between two samples, and a slow machine
        assert datetime.fromisoformat(old.headers["Occupancy-As-Of"]) > paused_at - timedelta(seconds=4)
        for position in (token, "latest", f"{first},{token}", f"{token}, {first}"):
            new = await caller.count(position)
            assert entries(new) == before + 1
            assert new.headers["Occupancy-Source"] == "primary"
    finally:
        await resume_replay(pair)
    again = await caller.count(token)
    assert entries(again) == before + 1
    assert again.headers["Occupancy-Source"] == "replica"


async def test_a_read_waits_for_a_replica_that_gets_there(pair: Pair) -> None:
    async for caller in calling(pair, read_wait=timedelta(seconds=10)):
        await pair.replica.execute("SELECT pg_wal_replay_pause()")
        token = await caller.enter()
        reading = [asyncio.create_task(caller.count(position)) for position in (token, token, "latest")]
        await asyncio.sleep(0.5)
        assert not any(task.done() for task in reading)
        await resume_replay(pair)
        for answer in await asyncio.gather(*reading):
            assert entries(answer) == caller.entries
            assert answer.headers["Occupancy-Source"] == "replica"


async def test_a_replica_that_is_too_far_behind_answers_nothing(pair: Pair, hurried: Caller) -> None:
    assert await hurried.is_answered_by("replica")
    await pair.replica.execute("SELECT pg_wal_replay_pause()")
    try:
        token = await hurried.enter()
        assert (await hurried.count(token)).status_code == 503

        async def is_refused() -> bool:
            answer = await hurried.count()
            if answer.status_code == 200:
                # the limit is looked at as the read begins, the age is that of the answer
                assert float(answer.headers["Occupancy-Lag"]) <= 2
                return False
            kind: str = answer.json()["type"]
            return kind == "urn:occupancy:problem:replica-unusable"

        await until(is_refused, 5)
        assert "s behind" in (await hurried.count()).json()["detail"]
        assert (await hurried.http.get("/readyz")).status_code == 503
        assert 'occupancy_reads_refused_total{reason="behind"}' in (await hurried.http.get("/metrics")).text
        # what is stored goes on
        await hurried.enter()
    finally:
        await resume_replay(pair)
    await until(lambda: hurried.is_answered_by("replica"), 10)
    assert entries(await hurried.count("latest")) == hurried.entries
    assert (await hurried.http.get("/readyz")).status_code == 200


async def test_a_killed_replica_is_missed_by_nobody_and_found_again(pair: Pair, caller: Caller) -> None:
    assert await caller.is_answered_by("replica")
    pair.replica.kill()
    try:
        for _ in range(5):
            token = await caller.enter()
            for position in (None, token):
                answer = await caller.count(position)
                assert entries(answer) == caller.entries
                assert answer.headers["Occupancy-Source"] == "primary"
        assert "cannot be reached" in (await caller.http.get("/readyz")).json()["detail"]
    finally:
        await pair.replica.start()
    await until(lambda: caller.is_answered_by("replica"), 20)
    assert entries(await caller.count("latest")) == caller.entries


async def test_a_replica_that_hangs_holds_up_a_few_reads_for_a_moment(pair: Pair, caller: Caller) -> None:
    assert await caller.is_answered_by("replica")
    pair.replica.freeze()
    try:
        started = datetime.now(UTC)
        answers = await asyncio.gather(*(caller.count() for _ in range(20)))
        assert {entries(answer) for answer in answers} == {caller.entries}
        assert {answer.headers["Occupancy-Source"] for answer in answers} == {"primary"}
        assert datetime.now(UTC) - started < timedelta(seconds=8)

        started = datetime.now(UTC)
        assert await caller.is_answered_by("primary")
        assert datetime.now(UTC) - started < timedelta(seconds=1)
    finally:
        pair.replica.thaw()
    await until(lambda: caller.is_answered_by("replica"), 20)


async def test_while_the_primary_is_away_the_replica_answers_and_grows_old(
    pair: Pair, caller: Caller
) -> None:
    await caller.enter()
    first = await caller.count("latest")
    pair.primary.kill()
    try:
        answers = []
        for _ in range(3):
            await asyncio.sleep(0.7)
            answers.append(await caller.count())
        assert {entries(answer) for answer in answers} == {caller.entries}
        assert {answer.headers["Occupancy-Source"] for answer in answers} == {"replica"}
        lags = [float(answer.headers["Occupancy-Lag"]) for answer in answers]
        assert lags == sorted(lags)
        assert lags[-1] > 1.3
        last = datetime.fromisoformat(answers[-1].headers["Occupancy-As-Of"])
        assert last <= datetime.fromisoformat(first.headers["Occupancy-As-Of"]) + timedelta(seconds=2)
        assert (await caller.count("latest")).status_code == 503
        ready = await caller.http.get("/readyz")
        assert ready.status_code == 200
        assert ready.json() == {
            "status": "degraded",
            "detail": "the database cannot be reached",
            "reads": "replica",
        }
    finally:
        await pair.primary.start()
    await until(lambda: caller.is_answered_by("replica"), 20)

    async def is_fresh() -> bool:
        return float((await caller.count()).headers["Occupancy-Lag"]) < 1.5

    # a replica whose primary was away asks for it again every few seconds
    await until(is_fresh, 20)
    assert (await caller.http.get("/readyz")).json() == {"status": "ok", "reads": "replica"}


async def test_a_process_is_not_ready_once_its_replica_is_too_old_to_answer(
    pair: Pair, hurried: Caller
) -> None:
    pair.primary.kill()
    try:

        async def is_not_ready() -> bool:
            answer = await hurried.http.get("/readyz")
            assert answer.status_code in {200, 503}
            return answer.status_code == 503

        await until(is_not_ready, 10)
        assert (await hurried.count()).status_code == 503
    finally:
        await pair.primary.start()
    await until(lambda: hurried.is_answered_by("replica"), 20)


async def test_of_several_hosts_the_first_that_answers_is_read(pair: Pair) -> None:
    several = pair.replica.url().replace("@", "@127.0.0.1:9,")
    async with service(pair.primary.url(), several, refresh="off") as http:
        await build(http)
        answer = await http.get("/v1/counts", headers={"Occupancy-Position": "latest"})
        assert answer.status_code == 200
        assert answer.headers["Occupancy-Source"] == "replica"


@pytest.fixture
async def reading(pair: Pair) -> AsyncIterator[ReadDatabase]:
    """The read database by itself, without HTTP."""
    settings = Settings(read_database_url=pair.replica.url())
    primary = await Database.connect(pair.primary.url(), 2)
    async with read_database(primary, pair.primary.url(), settings) as opened:

        async def reads_there() -> bool:
            return opened.state() == {"reads": "replica"}

        await until(reads_there, 20)
        yield opened
    await primary.close()


SLOW = "SELECT count(*) FROM (SELECT pg_sleep(2.5)) AS pause CROSS JOIN occupancy.organization"


async def test_a_read_that_replay_ends_is_asked_again(pair: Pair, reading: ReadDatabase) -> None:
    before = conflicts()
    reads = reading.reads()

    async def lock_once() -> None:
        await asyncio.sleep(0.5)
        # the replica may wait for readers for a second, then it ends them
        await pair.primary.execute(
            "BEGIN; LOCK TABLE occupancy.organization IN ACCESS EXCLUSIVE MODE; COMMIT"
        )

    async with reads.connection() as connection:
        found, _ = await asyncio.gather(connection.fetchval(SLOW), lock_once())
    assert found == 1
    assert conflicts() == before + 1
    assert reads.freshness is not None
    assert reads.freshness.source == "replica"


async def test_a_read_that_replay_ends_twice_goes_to_the_primary(pair: Pair, reading: ReadDatabase) -> None:
    before = conflicts()
    reads = reading.reads()
    stopping = asyncio.Event()

    async def lock_again_and_again() -> None:
        while not stopping.is_set():
            await asyncio.sleep(0.3)
            await pair.primary.execute(
                "BEGIN; LOCK TABLE occupancy.organization IN ACCESS EXCLUSIVE MODE NOWAIT; COMMIT"
            )

    async def read() -> object:
        async with reads.connection() as connection:
            await connection.fetchval("SELECT 1")
            return await connection.fetchval(SLOW)

    locking = asyncio.create_task(lock_again_and_again())
    try:
        found = await read()
    finally:
        stopping.set()
        # on the primary, the read itself keeps the lock away
        await asyncio.gather(locking, return_exceptions=True)
    assert found == 1
    assert conflicts() == before + 2
    assert reads.freshness is not None
    assert reads.freshness.source == "primary"


async def test_what_is_wrong_with_a_statement_is_not_the_replicas_fault(reading: ReadDatabase) -> None:
    reads = reading.reads()
    async with reads.connection() as connection:
        with pytest.raises(asyncpg.DataError):
            await connection.fetchval("SELECT $1::integer", "no number")
        with pytest.raises(asyncpg.InterfaceError):
            await connection.fetchval("SELECT $1::integer")
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.fetchval("SELECT * FROM nothing")
        assert await connection.fetchval("SELECT pg_is_in_recovery()") is True
    assert reading.state() == {"reads": "replica"}


async def test_a_promoted_replica_is_no_replica_any_more(programs: Binaries) -> None:
    async with running_pair(programs) as pair:
        async for caller in calling(pair):
            assert await caller.is_answered_by("replica")
            assert await pair.replica.value("SELECT pg_promote(true, 30)")
            for _ in range(20):
                token = await caller.enter()
                for position in (None, token, "latest"):
                    answer = await caller.count(position)
                    assert entries(answer) == caller.entries
                    assert answer.headers["Occupancy-Source"] == "primary"
                await asyncio.sleep(0.1)
            ready = (await caller.http.get("/readyz")).json()
            assert ready["reads"] == "primary"
            assert "does not lead to a replica" in ready["detail"]

        # the other way round: the promoted one is the primary now, and tokens of the old one say nothing
        old = token
        async with service(pair.replica.url(), pair.replica.url(), refresh="off") as http:
            await build(http)
            promoted = Caller(http)
            promoted.entries = entries(await promoted.count(old))
            new = await promoted.enter()
            assert new != old
            answer = await promoted.count(new)
            assert entries(answer) == promoted.entries
            assert answer.headers["Occupancy-Source"] == "replica"


async def test_another_database_is_refused_when_the_service_starts(native_url: str) -> None:
    wrong = Settings(api_key=KEY, read_database_url=SERVER_URL, refresh="off")
    with pytest.raises(DatabaseUnavailable, match="another database"):
        async with LifespanManager(create_app(wrong, native_url)):
            pass


async def test_nothing_can_be_written_where_reads_are_asked(native_url: str) -> None:
    database = await Database.connect(native_url, 1, read_only=True)
    async with database.connection() as connection:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("DELETE FROM occupancy.space")
    await database.close()
