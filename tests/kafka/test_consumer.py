"""A worker on a real broker: everything is stored once, and nothing blocks a partition."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from occupancy.database import store
from occupancy.errors import InvalidInput, MessagesLost
from occupancy.ingest.way import Way
from occupancy.kafka import consumer as consumer_module
from occupancy.kafka import writer as writer_module
from occupancy.kafka.offsets import Offsets
from occupancy.kafka.writer import BatchWriter, DatabaseRefuses, Ready
from occupancy.parse import Parsed
from tests.kafka.brokers import Broker
from tests.kafka.conftest import (
    PATIENCE,
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
PARTITIONS = 3


def cloud_event(number: int) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": str(number),
        "source": "/dpus/283",
        "type": "occupancy.crossing",
        "data": event(number),
    }


async def test_events_and_cloudevents_of_every_codec_are_stored_once(
    broker: Broker, topic: str, database_url: str, connection: asyncpg.Connection
) -> None:
    number = 0
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        records = []
        for partition in range(PARTITIONS):
            documents = (event(number), cloud_event(number + 1))
            records += [{"value": json.dumps(one).encode(), "partition": partition} for one in documents]
            number += 2
        broker.send(topic, records, **{"compression.type": codec})
    with counting() as counted:
        await consumed(database_url, connection, kafka_settings(broker.address, topic), number)
        assert counted("occupancy_events_total", outcome="accepted") == number
        assert counted("occupancy_kafka_batch_messages_sum") == number
        assert counted("occupancy_kafka_rebalances_total", kind="assigned") == PARTITIONS
    assert await crossings(connection) == list(range(number))
    assert await kept(connection) == {}


BAD: list[tuple[str, dict[str, Any]]] = [
    ("invalid_json", {"value": b"{"}),
    ("invalid_json", {"value": b"\xff\xfe\x00 not a text"}),
    ("invalid_event", {"value": b"[1, 2]"}),
    ("invalid_cloudevent", {"value": b'{"specversion": "1.0", "data": 7}'}),
    ("missing_field", {"value": b"{}"}),
    ("invalid_direction", {"value": json.dumps(event(1, direction=5)).encode()}),
    ("unknown_dpu", {"value": json.dumps(event(1, "nobody's")).encode()}),
    ("future_time", {"value": json.dumps(event(1, timestamp="2999-01-01T00:00:00Z")).encode()}),
    ("empty_message", {"value": None, "key": b"283"}),
    ("message_too_large", {"value": json.dumps(event(1, note="x" * 5000)).encode()}),
    ("conflict", {"value": json.dumps(event(0, direction=-1)).encode()}),
    ("future_time", {"value": json.dumps(event(2)).encode(), "headers": [("occupancy-rejected", b"future_time")]}),
    ("past_time", {"value": b"y" * 5000, "headers": [("occupancy-rejected", b"past_time")]}),
    # what the database would not take as JSON
    ("past_time", {"value": b'{"n": NaN}', "headers": [("occupancy-rejected", b"past_time")]}),
    ("rejected_before", {"value": b"{}", "headers": [("occupancy-rejected", b"accepted")]}),
]  # fmt: skip


async def test_bad_messages_in_every_partition_are_kept_aside_and_copied(
    broker: Broker, topic: str, database_url: str, connection: asyncpg.Connection
) -> None:
    letters = f"{topic}-dead"
    broker.create_topic(letters, 1)
    good = 0
    records: list[dict[str, Any]] = [{"value": json.dumps(event(0)).encode(), "partition": 0}]
    for partition in range(PARTITIONS):
        for _, bad in BAD:
            good += 1
            value = json.dumps(event(100 + good)).encode()
            records += [bad | {"partition": partition}, {"value": value, "partition": partition}]
    settings = kafka_settings(
        broker.address, topic, kafka_max_message_bytes=4000, kafka_dead_letter_topic=letters
    )
    # stored before what contradicts it: partitions come in any order
    broker.send(topic, records[:1])
    await consumed(database_url, connection, settings, 1)
    broker.send(topic, records[1:])
    with counting() as counted:
        await consumed(database_url, connection, settings, len(records))
        assert counted("occupancy_events_total", outcome="unknown_dpu") == PARTITIONS
        assert counted("occupancy_kafka_dead_letters_total", outcome="sent") == PARTITIONS * len(BAD)
    assert await crossings(connection) == [0, *range(101, 101 + good)]
    # the same event for the same reason is one row
    assert await kept(connection) == {
        "invalid_json": 2, "invalid_event": 1, "invalid_cloudevent": 1, "missing_field": 1, "invalid_direction": 1,
        "unknown_dpu": 1, "future_time": 2, "empty_message": 1, "message_too_large": 1, "conflict": 1,
        "past_time": 2, "rejected_before": 1,
    }  # fmt: skip
    found = broker.messages(letters, PARTITIONS * len(BAD))
    copies = {(m.value(), dict(m.headers() or [])["occupancy-rejected"]) for m in found}
    assert copies == {(bad["value"], code.encode()) for code, bad in BAD}
    places = {
        (dict(m.headers() or [])["occupancy-partition"], dict(m.headers() or [])["occupancy-offset"])
        for m in found
    }
    assert len(places) == PARTITIONS * len(BAD)


async def test_a_message_that_is_too_large_is_kept_in_part(
    broker: Broker, topic: str, database_url: str, connection: asyncpg.Connection
) -> None:
    broker.send(topic, [{"value": b"x" * 900_000}], **{"message.max.bytes": 2_000_000})
    await consumed(database_url, connection, kafka_settings(broker.address, topic), 1)
    row = await connection.fetchrow("SELECT code, detail, payload FROM occupancy.rejected_event")
    assert row is not None
    assert (row["code"], json.loads(row["payload"])) == ("message_too_large", "x" * 8192)
    assert "900000 bytes" in row["detail"]


async def test_a_worker_goes_on_where_the_last_one_stopped(
    broker: Broker, topic: str, database_url: str, connection: asyncpg.Connection
) -> None:
    settings = kafka_settings(broker.address, topic, kafka_batch_size=7)
    for part in range(3):
        broker.send_events(topic, [event(part * 100 + i, ("283", "423")[i % 2]) for i in range(100)])
        with counting() as counted:
            await consumed(database_url, connection, settings, (part + 1) * 100)
            # nothing was read again
            assert counted("occupancy_events_total", outcome="accepted") == 100
            assert counted("occupancy_events_total", outcome="duplicate") == 0
    assert await crossings(connection) == list(range(300))
    epochs = await connection.fetch("SELECT epoch FROM occupancy.kafka_offset")
    assert {row["epoch"] for row in epochs} == {3}


async def test_an_event_that_was_sent_twice_is_stored_once(
    broker: Broker, topic: str, database_url: str, connection: asyncpg.Connection
) -> None:
    broker.send_events(topic, [event(i % 10) for i in range(30)])
    with counting() as counted:
        await consumed(database_url, connection, kafka_settings(broker.address, topic), 30)
        assert counted("occupancy_events_total", outcome="duplicate") == 20
    assert await crossings(connection) == list(range(10))


async def test_two_workers_share_the_partitions(
    broker: Broker, topic: str, database_url: str, connection: asyncpg.Connection
) -> None:
    settings = kafka_settings(broker.address, topic)
    async with consuming(database_url, settings) as first, consuming(database_url, settings) as second:

        async def shared() -> bool:
            return bool(first.worker._assignment.held) and bool(second.worker._assignment.held)

        await first.until(shared)
        held = [set(running.worker._assignment.held) for running in (first, second)]
        assert held[0] | held[1] == set(range(PARTITIONS))
        assert held[0] & held[1] == set()
        with counting() as counted:
            broker.send(
                topic,
                ({"value": json.dumps(event(i)).encode(), "partition": i % PARTITIONS} for i in range(300)),
            )

            async def all_stored() -> bool:
                return await stored_offsets(connection, topic) == 300

            await second.until(all_stored)
            assert counted("occupancy_events_total", outcome="duplicate") == 0
    assert await crossings(connection) == list(range(300))


# What the database does


@pytest.fixture
async def refused(connection: asyncpg.Connection) -> Any:
    """The database refuses crossings with a seq of 666 and more."""
    await connection.execute(
        "ALTER TABLE occupancy.crossing ADD CONSTRAINT crossing_is_to_the_test_s_liking CHECK (seq < 666)"
    )
    yield
    await connection.execute(
        "TRUNCATE occupancy.crossing; "
        "ALTER TABLE occupancy.crossing DROP CONSTRAINT crossing_is_to_the_test_s_liking"
    )


@pytest.mark.usefixtures("refused")
async def test_messages_that_the_database_refuses_are_found_and_kept_aside(
    broker: Broker, topic: str, database_url: str, connection: asyncpg.Connection
) -> None:
    bad = {17, 18, 120, 199}
    broker.send_events(
        topic, [event(i, ("283", "423")[i % 2], seq=666 + i if i in bad else i) for i in range(200)]
    )
    with counting() as counted:
        await consumed(database_url, connection, kafka_settings(broker.address, topic), 200)
        assert counted("occupancy_events_total", outcome="duplicate") == 0
        assert counted("occupancy_events_total", outcome="unstorable") == len(bad)
    assert await crossings(connection) == [i for i in range(200) if i not in bad]
    rows = await connection.fetch("SELECT detail, payload FROM occupancy.rejected_event")
    assert {json.loads(row["payload"])["seq"] - 666 for row in rows} == bad
    assert {row["detail"] for row in rows} == {"the database refuses it: 23514"}


@pytest.mark.usefixtures("refused")
async def test_a_database_that_refuses_everything_ends_the_worker(
    broker: Broker,
    topic: str,
    database_url: str,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer_module, "_MOST_CONDEMNED_IN_A_ROW", 5)
    broker.send_events(topic, [event(i, seq=700 + i) for i in range(50)])
    with pytest.raises(DatabaseRefuses, match="refused 5 messages in a row"):
        await consumed(database_url, connection, kafka_settings(broker.address, topic), 50)
    # what was passed is kept, the rest is still to come
    assert await kept(connection) == {"unstorable": 5}
    assert await stored_offsets(connection, topic) == 5


async def test_what_may_pass_is_tried_again_in_place(
    broker: Broker,
    topic: str,
    database_url: str,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faults: list[Exception] = [
        asyncpg.DeadlockDetectedError("deadlock"),
        asyncpg.LockNotAvailableError("lock timeout"),
        asyncpg.IdleInTransactionSessionTimeoutError("frozen"),
        asyncpg.ConnectionDoesNotExistError("gone"),
        asyncpg.DiskFullError("full"),
        asyncpg.InterfaceError("the connection is closed"),
        OSError("no route"),
    ]

    async def faulty(*arguments: Any, **options: Any) -> Any:
        result = await store(*arguments, **options)
        if faults:
            # after the crossings were written, in the transaction
            raise faults.pop()
        return result

    monkeypatch.setattr("occupancy.kafka.writer.store", faulty)
    broker.send_events(topic, [event(i) for i in range(20)])
    with counting() as counted:
        await consumed(database_url, connection, kafka_settings(broker.address, topic), 20)
        assert counted("occupancy_kafka_retries_total") == 7
        assert counted("occupancy_events_total", outcome="accepted") == 20
        assert counted("occupancy_events_total", outcome="duplicate") == 0
    assert faults == []
    assert await crossings(connection) == list(range(20))


async def test_a_batch_that_takes_too_long_is_tried_again_whole(
    broker: Broker,
    topic: str,
    database_url: str,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No message is to blame for it, and halves would each take as long again."""
    faults: list[Exception] = [
        asyncpg.QueryCanceledError("canceling statement due to statement timeout"),
        asyncpg.LockNotAvailableError("canceling statement due to lock timeout"),
        TimeoutError(),
    ]
    sizes = []

    async def slow(connection: asyncpg.Connection, organization: int, parsed: Parsed, way: Way) -> Any:
        sizes.append(len(parsed))
        if faults:
            raise faults.pop()
        return await store(connection, organization, parsed, way)

    monkeypatch.setattr("occupancy.kafka.writer.store", slow)
    broker.send_events(topic, [event(i) for i in range(20)])
    with counting() as counted:
        await consumed(database_url, connection, kafka_settings(broker.address, topic), 20)
        assert counted("occupancy_kafka_retries_total") == 3
    assert sizes[0] > 1
    assert set(sizes[:4]) == {sizes[0]}
    assert await kept(connection) == {}
    assert await crossings(connection) == list(range(20))


async def test_a_batch_whose_commit_was_not_heard_of_is_not_stored_again(
    broker: Broker,
    topic: str,
    database_url: str,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transaction = BatchWriter._transaction
    attempts = []

    async def deaf(self: BatchWriter, ready: Ready) -> None:
        await transaction(self, ready)
        attempts.append(len(ready.batch.messages))
        if len(attempts) % 2:
            raise asyncpg.ConnectionDoesNotExistError("the connection was closed in the middle of operation")

    monkeypatch.setattr(BatchWriter, "_transaction", deaf)
    broker.send_events(topic, [event(i) for i in range(20)])
    with counting() as counted:
        await consumed(database_url, connection, kafka_settings(broker.address, topic), 20)
        assert counted("occupancy_events_total", outcome="accepted") == 20
        assert counted("occupancy_events_total", outcome="duplicate") == 0
        assert counted("occupancy_kafka_fenced_batches_total") == 0
    assert len(attempts) >= 2


async def test_the_group_is_served_while_the_database_is_slow(
    broker: Broker,
    topic: str,
    database_url: str,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kafka would take the partitions away from a worker that does not poll for max.poll.interval.ms."""
    faults = [asyncpg.LockNotAvailableError("lock timeout")] * 8

    async def faulty(*arguments: Any, **options: Any) -> Any:
        if faults:
            raise faults.pop()
        return await store(*arguments, **options)

    monkeypatch.setattr("occupancy.kafka.writer.store", faulty)
    monkeypatch.setattr(consumer_module, "_STALL_SECONDS", 0.1)
    settings = kafka_settings(
        broker.address, topic, kafka_batch_size=5, properties={"max.poll.interval.ms": 2000}
    )
    broker.send_events(topic, [event(i, ("283", "423")[i % 2]) for i in range(200)])
    with counting() as counted:
        await consumed(database_url, connection, settings, 200)
        assert counted("occupancy_kafka_rebalances_total", kind="lost") == 0
        assert counted("occupancy_events_total", outcome="accepted") == 200
        assert counted("occupancy_events_total", outcome="duplicate") == 0
        assert counted("occupancy_kafka_fenced_batches_total") == 0
    assert faults == []
    assert await crossings(connection) == list(range(200))


async def test_an_error_while_partitions_are_taken_over_ends_the_worker(
    broker: Broker,
    topic: str,
    database_url: str,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(*_arguments: Any) -> Any:
        raise asyncpg.UndefinedFunctionError("function occupancy.claim_partitions does not exist")

    monkeypatch.setattr(Offsets, "claim", broken)
    broker.send_events(topic, [event(1)])
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await consumed(database_url, connection, kafka_settings(broker.address, topic), 1)
    assert await crossings(connection) == []


async def test_another_cluster_has_offsets_of_its_own(
    broker: Broker, topic: str, database_url: str, connection: asyncpg.Connection
) -> None:
    await connection.execute(
        "SELECT occupancy.claim_partitions('elsewhere', $1, $2, ARRAY[0, 1, 2], 'a test'); ".replace(
            "$1", f"'group-{topic}'"
        ).replace("$2", f"'{topic}'")
    )
    await connection.execute("UPDATE occupancy.kafka_offset SET next_offset = 1000000")
    broker.send_events(topic, [event(i) for i in range(5)])
    await consumed(database_url, connection, kafka_settings(broker.address, topic), 3_000_005)
    assert await crossings(connection) == list(range(5))
    rows = await connection.fetch("SELECT cluster_id FROM occupancy.kafka_offset")
    assert {row["cluster_id"] for row in rows} == {"elsewhere", "tests"}


async def test_a_topic_that_was_made_anew_and_is_longer_by_now_ends_the_worker(
    broker: Broker, topic: str, database_url: str, connection: asyncpg.Connection
) -> None:
    settings = kafka_settings(broker.address, topic)
    broker.send(topic, records(0, 10))
    await consumed(database_url, connection, settings, 10)
    broker.delete_topic(topic)
    broker.create_topic(topic, PARTITIONS)
    broker.send(topic, records(100, 130))
    with pytest.raises(MessagesLost, match="the topic was made anew since offset 10 was next"):
        await consumed(database_url, connection, settings, 30)
    assert await crossings(connection) == list(range(10))


async def test_a_topic_that_was_made_anew_is_read_from_its_start_once_the_loss_is_accepted(
    broker: Broker,
    topic: str,
    database_url: str,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ends(*_arguments: Any) -> tuple[int, int]:
        # which tansu does not answer
        return 0, 30

    monkeypatch.setattr(consumer_module.Worker, "_ends", ends)
    settings = kafka_settings(broker.address, topic)
    broker.send(topic, records(0, 10))
    await consumed(database_url, connection, settings, 10)
    broker.delete_topic(topic)
    broker.create_topic(topic, PARTITIONS)
    broker.send(topic, records(100, 130))
    async with consuming(database_url, settings, accept_loss=True) as running:

        async def past_the_end() -> bool:
            return 129 in await crossings(connection)

        await running.until(past_the_end)
    assert await crossings(connection) == [*range(10), *range(100, 130)]


async def test_a_topic_that_is_made_anew_under_a_worker_is_seen(
    broker: Broker,
    topic: str,
    database_url: str,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """tansu goes on with a deleted topic, so that this one is only said to be another."""
    monkeypatch.setattr(consumer_module, "_IDENTITY_SECONDS", 0.1)
    broker.send(topic, records(0, 10))

    async def another(*_arguments: Any) -> str:
        return "another"

    async def work() -> None:
        async with consuming(database_url, kafka_settings(broker.address, topic)) as running:

            async def stored() -> bool:
                return await stored_offsets(connection, topic) == 10

            await running.until(stored)
            monkeypatch.setattr(consumer_module, "topic_id", another)
            await asyncio.wait([running.task], timeout=PATIENCE)

    with pytest.raises(MessagesLost, match="the topic was made anew since offset 10 was next"):
        await work()


async def test_brokers_that_do_not_say_which_topic_it_is_are_believed(
    broker: Broker,
    topic: str,
    database_url: str,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = kafka_settings(broker.address, topic)
    broker.send(topic, records(0, 10))
    await consumed(database_url, connection, settings, 10)
    (known,) = await topic_ids(connection)
    assert known is not None

    async def nothing(*_arguments: Any) -> None:
        return None

    monkeypatch.setattr(consumer_module, "topic_id", nothing)
    broker.send(topic, records(10, 20))
    await consumed(database_url, connection, settings, 20)
    # what was known stays so
    assert await topic_ids(connection) == [known]


async def topic_ids(connection: asyncpg.Connection) -> list[str | None]:
    rows = await connection.fetch("SELECT topic_id FROM occupancy.kafka_offset WHERE partition = 0")
    return [row["topic_id"] for row in rows]


def records(first: int, end: int) -> list[dict[str, Any]]:
    """Events for partition 0."""
    return [{"value": json.dumps(event(i)).encode(), "partition": 0} for i in range(first, end)]


# Settings


async def test_a_property_that_is_none_is_refused_without_its_value(
    broker: Broker, topic: str, database_url: str
) -> None:
    settings = kafka_settings(broker.address, topic, properties={"sasl.no.such": "hunter2"})
    with pytest.raises(InvalidInput, match=r"sasl\.no\.such") as caught:
        async with consuming(database_url, settings):
            pass
    assert "hunter2" not in str(caught.value)


async def test_all_partitions_at_once_work_as_well(
    broker: Broker, topic: str, database_url: str, connection: asyncpg.Connection
) -> None:
    """Groups that were begun with another assignor."""
    settings = kafka_settings(broker.address, topic, properties={"partition.assignment.strategy": "range"})
    async with consuming(database_url, settings) as first:

        async def holds() -> bool:
            return len(first.worker._assignment.held) == PARTITIONS

        await first.until(holds)
        async with consuming(database_url, settings) as second:

            async def shared() -> bool:
                return bool(second.worker._assignment.held)

            await second.until(shared)
            broker.send_events(topic, [event(i, ("283", "423")[i % 2]) for i in range(100)])

            async def all_stored() -> bool:
                return await stored_offsets(connection, topic) == 100

            await second.until(all_stored)
    assert await crossings(connection) == list(range(100))
