"""Epochs: who lost a partition can store nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import asyncpg
import pytest

from occupancy.kafka import consumer as consumer_module
from occupancy.kafka.batch import Span
from occupancy.kafka.offsets import Fenced, Offsets, Position
from tests.kafka.brokers import Broker
from tests.kafka.conftest import (
    consuming,
    counting,
    crossings,
    event,
    kafka_settings,
    stored_offsets,
)

ONE = Offsets("cluster", "group", "topic", "one")
OTHER = Offsets("cluster", "group", "topic", "other")


async def test_whoever_takes_over_goes_on_where_the_other_stopped(connection: asyncpg.Connection) -> None:
    assert await ONE.claim(connection, [1, 0]) == {0: Position(None, 1), 1: Position(None, 1)}
    assert await ONE.advance(connection, {0: Span(1, None, 5)})
    assert await OTHER.claim(connection, [0]) == {0: Position(5, 2)}
    assert await ONE.stored(connection, [0, 1, 2]) == {0: Position(5, 2), 1: Position(None, 1)}


@pytest.mark.parametrize(
    ("spans", "fenced"),
    [
        ({0: Span(1, 5, 9)}, [0]),  # an older epoch
        ({0: Span(3, 5, 9)}, [0]),  # one that was never given
        ({0: Span(2, 4, 9)}, [0]),  # begins before what is stored: messages would be stored twice
        ({0: Span(2, 6, 9)}, [0]),  # begins after it: messages would be left out
        ({0: Span(2, None, 9)}, [0]),
        ({1: Span(1, 0, 9)}, [1]),
        ({2: Span(1, None, 9)}, [2]),  # never taken over by anybody
        ({0: Span(2, 5, 9), 1: Span(7, None, 9)}, [1]),
    ],
)
async def test_what_is_not_held_so_cannot_be_moved(
    connection: asyncpg.Connection, spans: Mapping[int, Span], fenced: list[int]
) -> None:
    await ONE.claim(connection, [0, 1])
    await ONE.advance(connection, {0: Span(1, None, 5)})
    await OTHER.claim(connection, [0])
    with pytest.raises(Fenced) as caught:
        await ONE.advance(connection, spans)
    assert caught.value.partitions == fenced
    # not even those that are held
    assert await ONE.stored(connection, [0, 1]) == {0: Position(5, 2), 1: Position(None, 1)}


async def test_what_was_moved_exactly_so_before_is_known(connection: asyncpg.Connection) -> None:
    await ONE.claim(connection, [0, 1])
    spans = {0: Span(1, None, 5), 1: Span(1, None, 7)}
    assert await ONE.advance(connection, spans)
    assert not await ONE.advance(connection, spans)
    with pytest.raises(Fenced):
        await ONE.advance(connection, {0: Span(1, None, 5), 1: Span(1, 7, 8)})


async def test_groups_topics_and_clusters_have_offsets_of_their_own(connection: asyncpg.Connection) -> None:
    await ONE.claim(connection, [0])
    for other in (
        Offsets("cluster", "group", "other", ""),
        Offsets("cluster", "other", "topic", ""),
        Offsets("other", "group", "topic", ""),
    ):
        assert await other.claim(connection, [0]) == {0: Position(None, 1)}
        await other.advance(connection, {0: Span(1, None, 3)})
    assert await ONE.stored(connection, [0]) == {0: Position(None, 1)}


@pytest.mark.native
async def test_taking_over_waits_for_a_batch_that_is_about_to_be_committed(native_url: str) -> None:
    writer, taker = [await asyncpg.connect(native_url) for _ in range(2)]
    try:
        await ONE.claim(writer, [0])
        transaction = writer.transaction()
        await transaction.start()
        await ONE.advance(writer, {0: Span(1, None, 5)})
        taking = asyncio.ensure_future(OTHER.claim(taker, [0]))
        await asyncio.sleep(0.3)
        assert not taking.done()
        await transaction.commit()
        assert await taking == {0: Position(5, 2)}
    finally:
        await writer.close()
        await taker.close()


@pytest.mark.usefixtures("rooms")
async def test_a_worker_that_was_fenced_stores_nothing_until_it_has_taken_over_again(
    broker: Broker,
    topic: str,
    database_url: str,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer_module, "_RECLAIM_SECONDS", 1.0)
    settings = kafka_settings(broker.address, topic)
    async with consuming(database_url, settings) as running:
        broker.send_events(topic, [event(i) for i in range(10)])

        async def stored() -> bool:
            return await stored_offsets(connection, topic) == 10

        await running.until(stored)
        thief = Offsets("tests", settings.kafka_group, topic, "a thief")
        positions = await thief.claim(connection, [0, 1, 2])
        with counting() as counted:
            broker.send_events(topic, [event(i) for i in range(10, 30)])

            async def fenced() -> bool:
                return counted("occupancy_kafka_fenced_batches_total") == 1

            await running.until(fenced)
            assert await crossings(connection) == list(range(10))
            assert await thief.stored(connection, [0, 1, 2]) == positions

            async def taken_back() -> bool:
                # the worker counts after the commit that can be seen here
                accepted = counted("occupancy_events_total", outcome="accepted")
                return await stored_offsets(connection, topic) == 30 and accepted == 20

            await running.until(taken_back)
            assert counted("occupancy_events_total", outcome="duplicate") == 0
    assert await crossings(connection) == list(range(30))
