"""What brokers do to a worker, on librdkafka's mock cluster: not Apache Kafka, but its protocol."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest

from occupancy.errors import BrokerUnavailable, MessagesLost
from tests.kafka.brokers import MockCluster
from tests.kafka.conftest import (
    consumed,
    consuming,
    counting,
    crossings,
    event,
    kafka_settings,
    kept,
    stored_offsets,
)

pytestmark = pytest.mark.usefixtures("rooms")

TOPIC = "events"
PARTITIONS = 3
FETCH, HEARTBEAT, OFFSETS = 1, 12, 2
OUT_OF_RANGE = 1
UNKNOWN_MEMBER, ILLEGAL_GENERATION, TOPIC_REFUSED = 25, 22, 29
NOT_LEADER, FENCED_LEADER = 6, 74


@pytest.fixture(autouse=True)
def with_a_topic(cluster: MockCluster) -> None:
    cluster.create_topic(TOPIC, PARTITIONS)


async def test_a_broker_that_goes_and_comes_back(
    cluster: MockCluster, database_url: str, connection: asyncpg.Connection
) -> None:
    settings = kafka_settings(cluster.address, TOPIC, properties={"reconnect.backoff.max.ms": 500})
    cluster.send_events(TOPIC, [event(i, ("283", "423")[i % 2]) for i in range(50)])
    async with consuming(database_url, settings) as running:

        async def first_part() -> bool:
            return await stored_offsets(connection, TOPIC) == 50

        await running.until(first_part)
        cluster.order("down")
        # longer than the session
        await asyncio.sleep(3)
        assert not running.task.done()
        assert running.worker.is_alive()
        cluster.order("up")
        with counting() as counted:
            cluster.send_events(TOPIC, [event(i, ("283", "423")[i % 2]) for i in range(50, 100)])

            async def all_parts() -> bool:
                return await stored_offsets(connection, TOPIC) == 100

            await running.until(all_parts)
            assert counted("occupancy_events_total", outcome="duplicate") == 0
    assert await crossings(connection) == list(range(100))


async def test_a_worker_waits_for_a_broker_that_is_not_there_yet(
    cluster: MockCluster, database_url: str, connection: asyncpg.Connection
) -> None:
    cluster.send_events(TOPIC, [event(i) for i in range(5)])
    cluster.order("down")
    settings = kafka_settings(cluster.address, TOPIC, properties={"reconnect.backoff.max.ms": 200})
    async with consuming(database_url, settings) as running:
        await asyncio.sleep(1)
        assert not running.task.done()
        cluster.order("up")

        async def stored() -> bool:
            return await stored_offsets(connection, TOPIC) == 5

        await running.until(stored)


async def test_partitions_that_are_lost_are_taken_again_from_what_is_stored(
    cluster: MockCluster, database_url: str, connection: asyncpg.Connection
) -> None:
    settings = kafka_settings(cluster.address, TOPIC, kafka_batch_size=5)
    with counting() as counted:
        async with consuming(database_url, settings) as running:
            number = 0
            for code in (UNKNOWN_MEMBER, ILLEGAL_GENERATION, UNKNOWN_MEMBER):
                lost = counted("occupancy_kafka_rebalances_total", kind="lost")
                cluster.order("errors", HEARTBEAT, code)
                for _ in range(10):
                    cluster.send_events(TOPIC, [event(number + i, ("283", "423")[i % 2]) for i in range(20)])
                    number += 20
                    await asyncio.sleep(0.1)

                async def was_lost(lost: float = lost) -> bool:
                    return counted("occupancy_kafka_rebalances_total", kind="lost") > lost

                await running.until(was_lost)

            async def all_stored() -> bool:
                return await stored_offsets(connection, TOPIC) == number

            await running.until(all_stored)
        assert counted("occupancy_events_total", outcome="accepted") == number
        assert counted("occupancy_events_total", outcome="duplicate") == 0
    assert await crossings(connection) == list(range(number))


async def test_errors_of_fetching_pass(
    cluster: MockCluster, database_url: str, connection: asyncpg.Connection
) -> None:
    cluster.send_events(TOPIC, [event(i, ("283", "423")[i % 2]) for i in range(100)])
    cluster.order("errors", FETCH, f"{NOT_LEADER},{FENCED_LEADER},{NOT_LEADER},-1,7")
    with counting() as counted:
        await consumed(database_url, connection, kafka_settings(cluster.address, TOPIC), 100)
        assert counted("occupancy_events_total", outcome="duplicate") == 0
    assert await crossings(connection) == list(range(100))


async def test_a_header_whose_name_is_no_utf8_holds_up_nothing(
    cluster: MockCluster, database_url: str, connection: asyncpg.Connection
) -> None:
    """The client breaks there, and in another way once Python has seen the same call many times."""
    cluster.create_topic("dead", 1)
    cluster.send(TOPIC, records(100, 200))
    for document in (event(1), event(2, direction=7), event(3)):
        cluster.order("header", TOPIC, b"\xff\xfe".hex(), json.dumps(document).encode().hex())
    settings = kafka_settings(cluster.address, TOPIC, kafka_dead_letter_topic="dead")
    await consumed(database_url, connection, settings, 103)
    assert await crossings(connection) == [1, 3, *range(100, 200)]
    assert await kept(connection) == {"invalid_direction": 1}
    (copy,) = cluster.messages("dead", 1)
    assert dict(copy.headers() or [])["occupancy-rejected"] == b"invalid_direction"


async def test_a_topic_that_may_not_be_read_ends_the_worker(cluster: MockCluster, database_url: str) -> None:
    cluster.send_events(TOPIC, [event(1)])
    cluster.order("errors", FETCH, ",".join([str(TOPIC_REFUSED)] * 20))
    with pytest.raises(BrokerUnavailable, match="authoriz"):
        async with consuming(database_url, kafka_settings(cluster.address, TOPIC)) as running:
            await asyncio.wait([running.task], timeout=20)


async def test_messages_that_kafka_has_deleted_end_the_worker(
    cluster: MockCluster, database_url: str, connection: asyncpg.Connection
) -> None:
    settings = kafka_settings(cluster.address, TOPIC)
    cluster.send(TOPIC, records(0, 10))
    await consumed(database_url, connection, settings, 10)
    cluster.send(TOPIC, records(10, 30))
    cluster.order("delete", TOPIC, 0, 15)
    with pytest.raises(MessagesLost, match=r"the 5 offsets from 10 to 14 are no longer in Kafka"):
        await consumed(database_url, connection, settings, 30)
    assert await crossings(connection) == list(range(10))
    assert await stored_offsets(connection, TOPIC) == 10
    # asked again, it goes on with what is there
    with counting() as counted:
        await consumed(database_url, connection, settings, 30, accept_loss=True)
        assert counted("occupancy_kafka_lost_messages_total") == 5
    assert await crossings(connection) == [*range(10), *range(15, 30)]
    # and needs to be asked once only
    cluster.send(TOPIC, records(30, 40))
    await consumed(database_url, connection, settings, 40)


async def test_a_topic_that_is_shorter_than_what_was_stored_ends_the_worker(
    cluster: MockCluster, database_url: str, connection: asyncpg.Connection
) -> None:
    settings = kafka_settings(cluster.address, TOPIC)
    cluster.send(TOPIC, records(0, 10))
    await consumed(database_url, connection, settings, 10)
    await connection.execute("UPDATE occupancy.kafka_offset SET next_offset = 100 WHERE partition = 0")
    cluster.send(TOPIC, records(10, 20))
    with pytest.raises(MessagesLost, match=r"offset 100 is next, but the partition ends at 20"):
        await consumed(database_url, connection, settings, 1000)
    async with consuming(database_url, settings, accept_loss=True) as running:

        async def from_the_beginning() -> bool:
            return await stored_offsets(connection, TOPIC) == 20

        await running.until(from_the_beginning)
    assert await crossings(connection) == list(range(20))


async def cut_off_and_grown(cluster: MockCluster, database_url: str, connection: asyncpg.Connection) -> None:
    """As if 15 messages had been stored of which the next leader had 10: it has written 20 others since."""
    cluster.send(TOPIC, records(0, 10))
    await consumed(database_url, connection, kafka_settings(cluster.address, TOPIC), 10)
    await connection.execute("UPDATE occupancy.kafka_offset SET next_offset = 15 WHERE partition = 0")
    cluster.order("leader", TOPIC, 0)
    cluster.send(TOPIC, records(10, 30))


async def test_a_partition_that_was_cut_off_and_has_grown_since_ends_the_worker(
    cluster: MockCluster, database_url: str, connection: asyncpg.Connection
) -> None:
    await cut_off_and_grown(cluster, database_url, connection)
    settings = kafka_settings(cluster.address, TOPIC)
    with pytest.raises(MessagesLost, match=r"cut off before offset 15, which is next, and has grown to 30"):
        await consumed(database_url, connection, settings, 30)
    # whoever comes next finds the same
    with pytest.raises(MessagesLost, match=r"cut off before offset 15"):
        await consumed(database_url, connection, settings, 30)
    assert await crossings(connection) == list(range(10))
    async with consuming(database_url, settings, accept_loss=True) as running:

        async def all_of_them() -> bool:
            return await crossings(connection) == list(range(30))

        await running.until(all_of_them)
    cluster.send(TOPIC, records(30, 40))
    await consumed(database_url, connection, settings, 40)


async def test_an_election_that_loses_nothing_goes_by_unnoticed(
    cluster: MockCluster, database_url: str, connection: asyncpg.Connection
) -> None:
    settings = kafka_settings(cluster.address, TOPIC)
    for part in range(3):
        cluster.send(TOPIC, records(part * 10, part * 10 + 10))
        await consumed(database_url, connection, settings, part * 10 + 10)
        stored = await connection.fetchval(
            "SELECT leader_epoch FROM occupancy.kafka_offset WHERE partition = 0"
        )
        assert stored == part
        cluster.order("leader", TOPIC, 0)
    assert await crossings(connection) == list(range(30))


@pytest.mark.parametrize("epoch_is_known", [True, False])
async def test_brokers_that_had_less_than_was_stored_and_have_more_now(
    cluster: MockCluster, database_url: str, connection: asyncpg.Connection, epoch_is_known: bool
) -> None:
    """By the leader epoch they can tell that nothing is missing; without it nobody can."""
    settings = kafka_settings(cluster.address, TOPIC)
    cluster.send(TOPIC, records(0, 10))
    await consumed(database_url, connection, settings, 10)
    if not epoch_is_known:
        await connection.execute("UPDATE occupancy.kafka_offset SET leader_epoch = NULL")
    cluster.send(TOPIC, records(10, 20))
    cluster.order("errors", FETCH, ",".join([str(OUT_OF_RANGE)] * 10))
    if epoch_is_known:
        await consumed(database_url, connection, settings, 20)
        assert await crossings(connection) == list(range(20))
    else:
        with pytest.raises(MessagesLost, match=r"cut off before offset 10"):
            await consumed(database_url, connection, settings, 20)


async def test_a_group_that_begins_at_the_end_misses_nothing_after_it(
    cluster: MockCluster, database_url: str, connection: asyncpg.Connection
) -> None:
    settings = kafka_settings(cluster.address, TOPIC, kafka_start="end")
    cluster.send(TOPIC, records(0, 10))
    # it holds the partition, stores nothing, and goes
    await consumed(database_url, connection, settings, 10)
    cluster.send(TOPIC, records(10, 20))
    await consumed(database_url, connection, settings, 20)
    assert await crossings(connection) == list(range(10, 20))


def records(first: int, end: int) -> list[dict[str, object]]:
    """Events for partition 0."""
    return [{"value": json.dumps(event(i)).encode(), "partition": 0} for i in range(first, end)]
