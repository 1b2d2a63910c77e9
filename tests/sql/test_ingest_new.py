"""Events taken for new: the same answers and rows as if each had been looked at, whatever they are."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from time import time

import asyncpg
import pytest

from occupancy.database import Database, commit_together
from occupancy.ingest.way import Way
from occupancy.parse import Events, Parsed
from tests.sql.building import two_rooms

# Of today: what is a day old is looked at one by one. The start of a quarter of an hour.
START = datetime.fromtimestamp(time() // 900 * 900, UTC) - timedelta(hours=3)
HORIZON = START + timedelta(hours=1)
Event = tuple[str, datetime, int, int]

_LEFT = (
    "SELECT dpu, time, seq, direction FROM occupancy.crossing ORDER BY 1, 2, 3",
    "SELECT space, since, until FROM occupancy.stale ORDER BY 1, 2, 3",
    "SELECT code, detail, payload FROM occupancy.rejected_event ORDER BY 1, 2",
)


async def _horizon(connection: asyncpg.Connection) -> None:
    await connection.execute(
        "UPDATE occupancy.horizon SET write_before = $1, read_before = $1, dropped_before = $2",
        HORIZON,
        START,
    )


async def _ingest(
    connection: asyncpg.Connection, function: str, batch: list[Event]
) -> list[tuple[object, ...]]:
    rows = await connection.fetch(
        f"SELECT index, code, detail FROM occupancy.{function}(1, $1, $2, $3, $4) ORDER BY index",
        *([event[column] for event in batch] for column in range(4)),
    )
    return [tuple(row) for row in rows]


async def _outcome(
    connection: asyncpg.Connection, function: str, batches: list[list[Event]]
) -> list[list[tuple[object, ...]]]:
    """What a function says of each batch and leaves behind; then everything is undone."""
    transaction = connection.transaction()
    await transaction.start()
    said = [await _ingest(connection, function, batch) for batch in batches]
    left = [[tuple(row) for row in await connection.fetch(query)] for query in _LEFT]
    await transaction.rollback()
    return said + left


def _batch(rng: random.Random) -> list[Event]:
    """Mostly good events; by chance unknown DPUs, some before a drop, late ones, copies and contradictions."""
    before_drop, unknown = rng.random() < 0.2, rng.random() < 0.2
    batch: list[Event] = []
    for _ in range(rng.randrange(1, 9)):
        minute = rng.randrange(-5 if before_drop else 0, 120)
        dpu_id = "nobody" if unknown and rng.random() < 0.3 else rng.choice(["283", "423"])
        when = START + timedelta(minutes=minute, microseconds=rng.randrange(3))
        batch.append((dpu_id, when, rng.choice([1, -1]), rng.randrange(2)))
    return batch


async def test_the_answers_and_rows_are_those_of_ingest_crossings(connection: asyncpg.Connection) -> None:
    await two_rooms(connection)
    await _horizon(connection)
    rng = random.Random(4)
    codes: set[object] = set()
    whole = late = 0
    for _ in range(60):
        batches = [_batch(rng) for _ in range(4)]
        expected = await _outcome(connection, "ingest_crossings", batches)
        assert await _outcome(connection, "ingest_new_crossings", batches) == expected
        codes.update(row[1] for said in expected[:4] for row in said)
        whole += sum(not said for said in expected[:4])
        late += bool(expected[5])
    assert codes == {"duplicate", "conflict", "unknown_dpu", "past_retention"}
    assert whole > 20
    assert late > 20


@pytest.mark.parametrize(
    "odd",
    [
        ("283", START, 1, 1),  # stored already
        ("283", START, -1, 1),  # contradicts what is stored
        ("nobody", START, 1, 1),
        ("283", START - timedelta(seconds=1), 1, 1),  # from before a drop
        ("283", START + timedelta(minutes=7), 1, 7),  # twice in the batch
    ],
)
async def test_one_that_is_not_new_loses_no_other(connection: asyncpg.Connection, odd: Event) -> None:
    await two_rooms(connection)
    await _horizon(connection)
    await _ingest(connection, "ingest_crossings", [("283", START, 1, 1)])
    batch = [("283", START + timedelta(minutes=minute), 1, minute) for minute in range(3, 9)]
    assert len(await _ingest(connection, "ingest_new_crossings", [*batch, odd])) == 1
    assert await connection.fetchval("SELECT count(*) FROM occupancy.crossing") == 1 + len(batch)


def _parsed(*seqs: int) -> Parsed:
    places = list(range(len(seqs)))
    times = [START + timedelta(seconds=seq) for seq in seqs]
    return Parsed(Events(places, ["283"] * len(seqs), times, [1] * len(seqs), list(seqs)))


async def test_a_group_is_taken_for_new_until_one_was_not(database: Database) -> None:
    async with database.connection() as connection:
        await two_rooms(connection)
        seconds = 0.0
        way = Way(guesses=True, now=lambda: seconds)

        def takes_for_new() -> bool:
            return "ingest_new_crossings" in way.call

        (first,) = await commit_together(connection, 1, [_parsed(1, 2)], way)
        assert (first.accepted, takes_for_new()) == (2, True)
        (again,) = await commit_together(connection, 1, [_parsed(2, 3)], way)
        assert (again.accepted, again.duplicates, again.duplicate_indexes) == (1, 1, [0])
        assert not takes_for_new()
        seconds = 29.9
        assert not takes_for_new()
        seconds = 30.0
        assert takes_for_new()


@pytest.mark.native
async def test_two_writers_of_one_event_store_it_once(native_url: str) -> None:
    """The second waits for the first, finds that the event is not new, and stores the rest."""
    one, two = await asyncpg.connect(native_url), await asyncpg.connect(native_url)
    try:
        await two_rooms(one)
        transaction = one.transaction()
        await transaction.start()
        assert await _ingest(one, "ingest_new_crossings", [("283", START, 1, 0)]) == []
        waiting = asyncio.create_task(
            _ingest(two, "ingest_new_crossings", [("283", START, 1, 0), ("423", START, 1, 0)])
        )
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await transaction.commit()
        assert await waiting == [(1, "duplicate", "")]
        assert await one.fetchval("SELECT count(*) FROM occupancy.crossing") == 2
    finally:
        await one.close()
        await two.close()
