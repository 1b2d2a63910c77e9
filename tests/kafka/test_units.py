"""Parts of a worker without a broker: what it takes, how a batch is cut, what it is told."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from confluent_kafka import Message, TopicPartition
from pydantic import SecretStr

import occupancy
from occupancy.errors import BrokerUnavailable, Busy, DatabaseUnavailable, InvalidInput, MessagesLost
from occupancy.faults import is_of_the_data, is_transient
from occupancy.kafka.assignment import Assignment
from occupancy.kafka.batch import Batch, Span
from occupancy.kafka.consumer import NotStored, Worker
from occupancy.kafka.dead_letters import DeadLetters
from occupancy.kafka.offsets import Fenced, Offsets, Position
from occupancy.kafka.pipeline import Pipeline
from occupancy.kafka.properties import consumer_properties, producer_properties
from occupancy.kafka.reading import GIVEN_BEFORE, read
from occupancy.parse import Clock, Rejected
from occupancy.schema import sql_directory
from occupancy.settings import Settings

CLOCK = Clock(datetime.now(UTC), timedelta(minutes=5), datetime(2015, 1, 1, tzinfo=UTC))


def message(partition: int, offset: int, value: bytes | None = b"{}", **more: Any) -> Message:
    return Message("topic", partition, offset, more.get("key"), value, more.get("headers"))


def places(batch: Batch) -> list[tuple[int | None, int | None]]:
    return [(m.partition(), m.offset()) for m in batch.messages]


# Assignment


def test_what_was_taken_before_or_is_not_held_is_left_out() -> None:
    assignment = Assignment()
    assignment.hold({0: Position(10, 3), 1: Position(None, 1)})
    batch = assignment.take(
        [message(0, 9), message(0, 10), message(2, 0), message(1, 4), message(0, 12), message(0, 10)]
    )
    assert batch is not None
    assert places(batch) == [(0, 10), (1, 4), (0, 12)]
    # offsets may have gaps
    assert batch.spans == {0: Span(3, 10, 13), 1: Span(1, None, 5)}
    assert assignment.take([message(0, 12), message(1, 4)]) is None
    following = assignment.take([message(0, 13)])
    assert following is not None
    assert following.spans == {0: Span(3, 13, 14)}


def test_after_a_batch_was_given_up_its_messages_are_taken_again() -> None:
    assignment = Assignment()
    assignment.hold({0: Position(10, 3), 1: Position(0, 1)})
    assignment.take([message(0, 10), message(1, 0)])
    generation = assignment.generation
    assert assignment.reset({0: Position(10, 3), 1: Position(7, 2)}) == [1]
    assert assignment.generation > generation
    batch = assignment.take([message(0, 10), message(1, 7)])
    assert batch is not None
    assert places(batch) == [(0, 10)]


def test_what_others_hold_is_not_noted_as_stored() -> None:
    assignment = Assignment()
    assignment.hold({0: Position(5, 2)})
    assignment.stored({0: Span(1, 5, 9), 1: Span(1, 0, 3)})
    assert assignment.held[0].stored == 5
    assignment.stored({0: Span(2, 5, 9)})
    assert assignment.held[0].stored == 9


# Batch


@pytest.mark.parametrize("seed", range(5))
def test_halves_one_after_the_other_are_the_batch(seed: int) -> None:
    rng = random.Random(seed)
    assignment = Assignment()
    assignment.hold({p: Position(rng.choice([None, 0]), p) for p in range(4)})
    ends = [0] * 4
    messages = []
    for _ in range(rng.randint(2, 40)):
        partition = rng.randrange(4)
        ends[partition] += rng.randint(1, 3)
        messages.append(message(partition, ends[partition]))
    batch = assignment.take(messages)
    assert batch is not None
    first, second = batch.halves()
    assert first.messages
    assert second.messages
    assert first.messages + second.messages == batch.messages
    joined = dict(first.spans)
    for partition, span in second.spans.items():
        before = joined.get(partition)
        # begins exactly where the first half ends
        assert span.position == (batch.spans[partition].position if before is None else before.next_offset)
        joined[partition] = Span(span.epoch, batch.spans[partition].position, span.next_offset)
    assert joined == batch.spans


# Reading


def test_indexes_are_places_in_the_batch_whatever_is_left_out() -> None:
    good = json.dumps({"dpu_id": "1", "timestamp": "2026-03-02T08:00:00Z", "direction": 1}).encode()
    parsed = read(
        [
            message(0, 0, None, key=b"\xff"),
            message(0, 1, good),
            message(0, 2, b"x" * 500),
            message(0, 3, b"no json"),
            message(0, 4, good, headers=[("occupancy-rejected", b"past_time"), ("occupancy-detail", b"why")]),
            message(0, 5, good, headers=[("trace", b"1")]),
        ],
        CLOCK,
        100,
    )
    assert parsed.events.indexes == [1, 5]
    assert [(r.index, r.code) for r in parsed.rejected] == [
        (0, "empty_message"), (2, "message_too_large"), (3, "invalid_json"), (4, "past_time"),
    ]  # fmt: skip
    assert parsed.rejected[0].payload == {"key": "\\xff", "value": None}
    assert (parsed.rejected[3].detail, parsed.rejected[3].payload) == ("why", json.loads(good))


def rejected_before(
    code: bytes, detail: bytes = b"why", value: bytes = b"{}", largest: int = 100
) -> Rejected:
    headers = [("occupancy-rejected", code), ("occupancy-detail", detail)]
    (rejected,) = read([message(0, 0, value, headers=headers)], CLOCK, largest).rejected
    return rejected


@pytest.mark.parametrize("code", [b"accepted", b"queued", b"duplicate", b"", b"\xff\x00", b"x" * 10_000])
def test_a_code_that_nobody_gives_is_kept_as_one_code_only(code: bytes) -> None:
    """Each code is a label of a metric and a word that people look for."""
    rejected = rejected_before(code, b"y" * 10_000)
    assert rejected.code == "rejected_before"
    assert code[:20].decode(errors="ignore").strip("\x00") in rejected.detail
    assert rejected.detail.endswith("y" * 100)
    assert len(rejected.detail) < 1200


def test_every_code_that_is_given_before_the_topic_or_by_a_worker_is_known() -> None:
    source = Path(occupancy.__file__).parent
    files = [*source.glob("parse/*.py"), *source.glob("mqtt/*.py"), *source.glob("kafka/*.py")]
    given = {
        code
        for file in files
        for code in re.findall(r'(?:Unusable|Rejected|_kept)\((?:[\w.]+, )*\s*"([a-z_]+)"', file.read_text())
    }
    given |= set(
        re.findall(
            r"(?:THEN|ELSE) '([a-z_]+)'", (sql_directory() / "functions/ingest_crossings.sql").read_text()
        )
    )
    # of which nothing is kept aside
    given.remove("duplicate")
    assert {"invalid_seq", "wrong_topic", "invalid_json", "message_too_large"} <= given
    assert {"empty_message", "unstorable", "unknown_dpu", "conflict"} <= given
    assert given <= GIVEN_BEFORE


@pytest.mark.parametrize("code", ["unknown_dpu", "conflict", "past_retention", "empty_message", "unstorable"])
def test_a_dead_letter_that_is_copied_back_keeps_its_reason(code: str) -> None:
    sent = message(0, 7, b'{"dpu_id": "nobody"}', headers=[("trace", b"1")])
    (rejected,) = read([_copied_back(sent, Rejected(0, code, "why", None))], CLOCK, 100).rejected
    assert (rejected.code, rejected.detail, rejected.payload) == (code, "why", {"dpu_id": "nobody"})


def _copied_back(sent: Message, rejected: Rejected) -> Message:
    copies = []

    class Producer:
        def produce(
            self, _topic: str, value: bytes, key: bytes | None, *, headers: Any, **_more: Any
        ) -> None:
            copies.append(message(1, 0, value, key=key, headers=headers))

    DeadLetters(Producer(), "dead").put([sent], [rejected])  # type: ignore[arg-type]
    (copy,) = copies
    return copy


def test_the_reason_that_was_given_is_kept_however_large_the_message_is() -> None:
    rejected = rejected_before(b"invalid_direction", value=b'{"note": "' + b"x" * 1000 + b'"}')
    assert (rejected.code, rejected.detail, rejected.payload) == (
        "invalid_direction",
        "why",
        {"note": "x" * 1000},
    )
    rejected = rejected_before(b"invalid_direction", value=b"x" * 500_000)
    assert (rejected.code, rejected.payload) == ("invalid_direction", "x" * 8192)


@pytest.mark.parametrize("value", [b'{"n": NaN}', b"[-Infinity]", b"[" * 500 + b"]" * 500])
def test_what_is_no_json_to_the_database_is_kept_as_text(value: bytes) -> None:
    assert rejected_before(b"invalid_event", value=value).payload == value.decode()
    assert read([message(0, 0, value)], CLOCK, 1).rejected[0].payload == value.decode()


# Pipeline


async def test_batches_are_written_one_by_one_and_two_are_held_at_most() -> None:
    written: list[int] = []
    gate = asyncio.Event()

    async def write(batch: int) -> None:
        await gate.wait()
        written.append(batch)

    pipeline = Pipeline(write)
    running = asyncio.create_task(pipeline.run())
    pipeline.put(1)
    assert await pipeline.room(0.1)
    pipeline.put(2)
    assert not await pipeline.room(0.05)
    gate.set()
    assert await pipeline.drained(1)
    assert written == [1, 2]
    running.cancel()


async def test_after_a_fault_nothing_that_waits_is_written() -> None:
    written: list[int] = []

    async def write(batch: int) -> None:
        await asyncio.sleep(0)
        if batch == 1:
            raise ValueError("refused")
        written.append(batch)

    pipeline = Pipeline(write)
    running = asyncio.create_task(pipeline.run())
    pipeline.put(1)
    pipeline.put(2)
    assert await pipeline.drained(1)
    assert isinstance(pipeline.take_fault(), ValueError)
    assert pipeline.take_fault() is None
    pipeline.put(3)
    assert await pipeline.drained(1)
    assert written == [3]
    running.cancel()


async def test_a_write_that_fails_while_it_is_cut_off_does_not_hold_up_the_end() -> None:
    async def write(_batch: int) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            raise asyncpg.InternalClientError("cannot switch to state 15") from error

    pipeline = Pipeline(write)
    running = asyncio.create_task(pipeline.run())
    pipeline.put(1)
    await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.wait([running], timeout=5)
    assert running.cancelled()


# Faults


@pytest.mark.parametrize(
    ("error", "transient", "of_the_data"),
    [
        (DatabaseUnavailable("gone"), True, False),
        (Busy("slow"), True, False),
        (ConnectionResetError(), True, False),
        (asyncpg.InterfaceError("closed"), True, False),
        (
            asyncpg.InternalClientError("cannot switch to state 15; another operation is in progress"),
            True,
            False,
        ),
        (asyncpg.DeadlockDetectedError(""), True, False),
        (asyncpg.LockNotAvailableError(""), True, False),
        (asyncpg.IdleInTransactionSessionTimeoutError(""), True, False),
        (asyncpg.ReadOnlySQLTransactionError(""), True, False),
        (asyncpg.AdminShutdownError(""), True, False),
        (asyncpg.DiskFullError(""), True, False),
        (asyncpg.QueryCanceledError(""), True, False),
        (asyncpg.CheckViolationError(""), False, True),
        (asyncpg.NumericValueOutOfRangeError(""), False, True),
        (asyncpg.DataError("invalid input for query argument"), False, True),
        (asyncpg.ProgramLimitExceededError(""), False, True),
        (asyncpg.RaiseError(""), False, True),
        (asyncpg.InternalServerError(""), False, True),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), False, True),
        (asyncpg.UndefinedFunctionError(""), False, False),
        (asyncpg.InsufficientPrivilegeError(""), False, False),
        (RuntimeError(), False, False),
        (TypeError(), False, False),
    ],
)
def test_what_an_error_means(error: Exception, transient: bool, of_the_data: bool) -> None:
    assert (is_transient(error), is_of_the_data(error)) == (transient, of_the_data)


# Worker


class _Rebalancing:
    """A consumer whose rebalance comes in the middle of a call, as librdkafka's does."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.sought: list[tuple[int, int]] = []

    async def consume(self, _most: int, _seconds: float) -> list[Message]:
        before = message(0, 10)
        await self._worker._on_revoke(self, [TopicPartition("topic", 0)])
        self._worker._assignment.hold({0: Position(7, 2)})
        return [before, message(1, 5)]

    async def seek(self, place: TopicPartition) -> None:
        self.sought.append((place.partition, place.offset))


def idle_worker(**change: Any) -> Worker:
    worker = Worker(settings(kafka_topic="topic", **change), None)  # type: ignore[arg-type]
    worker._pipeline = Pipeline(lambda _batch: asyncio.sleep(0))
    return worker


@pytest.mark.parametrize("error", [RuntimeError("broken"), asyncpg.InsufficientPrivilegeError("no right")])
async def test_what_kept_the_last_batch_from_being_stored_is_raised_at_the_end(error: Exception) -> None:
    worker = idle_worker()
    worker._pipeline._fault = error
    with pytest.raises(type(error)):
        await worker._finish()


async def test_a_last_batch_that_others_have_taken_over_is_no_error() -> None:
    worker = idle_worker()
    worker._pipeline._fault = Fenced([0])
    await worker._finish()


async def test_a_last_batch_that_is_not_stored_in_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("occupancy.kafka.consumer._DRAIN_SECONDS", 0.05)
    worker = idle_worker()
    worker._pipeline.put(None)  # type: ignore[arg-type]
    with pytest.raises(NotStored):
        await worker._finish()


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (DatabaseUnavailable("gone"), False),
        (BrokerUnavailable("away"), False),
        (NotStored("not yet"), False),
        (MessagesLost("lost"), True),
    ],
)
async def test_waiting_for_what_is_away_is_no_error_once_the_worker_is_stopped(
    monkeypatch: pytest.MonkeyPatch, error: Exception, raised: bool
) -> None:
    worker = idle_worker()

    async def turn(_worker: Worker) -> None:
        worker.stop()
        raise error

    monkeypatch.setattr(Worker, "_turn", turn)
    if raised:
        with pytest.raises(type(error)):
            await worker._turns()
    else:
        await worker._turns()


async def test_a_worker_that_goes_on_past_a_loss_can_be_stopped_while_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("occupancy.kafka.consumer._STALL_SECONDS", 0.05)
    worker = idle_worker()
    # what nobody writes
    worker._pipeline.put(None)  # type: ignore[arg-type]
    waiting = asyncio.create_task(worker._settled())
    await asyncio.sleep(0.2)
    assert not waiting.done()
    worker.stop()
    with pytest.raises(NotStored):
        await asyncio.wait_for(waiting, 5)


async def test_who_is_fenced_while_it_begins_at_the_end_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ends(_worker: Worker, _partition: int) -> tuple[int, int]:
        return 0, 7

    async def advanced(_worker: Worker, spans: dict[int, Span]) -> None:
        raise Fenced(list(spans))

    monkeypatch.setattr(Worker, "_ends", ends)
    monkeypatch.setattr(Worker, "_advanced", advanced)
    assert await idle_worker()._started_at_end([0], {0: Position(None, 1)}) == {}


@pytest.mark.parametrize("accept_loss", [False, True])
async def test_what_is_on_its_way_is_not_noted_as_of_a_new_topic(
    monkeypatch: pytest.MonkeyPatch, accept_loss: bool
) -> None:
    async def new(*_arguments: Any) -> str:
        return "new"

    async def nothing(*_arguments: Any) -> None:
        return None

    monkeypatch.setattr("occupancy.kafka.consumer.topic_id", new)
    monkeypatch.setattr(Worker, "_go_on_without", nothing)
    worker = idle_worker()
    worker._accept_loss = accept_loss
    worker._offsets = Offsets("cluster", "group", "topic", "", "old")
    worker._assignment.hold({0: Position(10, 1, None, "old")})
    written_under = []

    async def write(_batch: Any) -> None:
        await asyncio.sleep(0.1)
        written_under.append(worker._offsets.topic_id)

    worker._pipeline = Pipeline(write)
    running = asyncio.create_task(worker._pipeline.run())
    worker._pipeline.put(None)  # type: ignore[arg-type]
    if accept_loss:
        await worker._identify()
        assert worker._offsets.topic_id == "new"
    else:
        with pytest.raises(MessagesLost):
            await worker._identify()
        assert worker._offsets.topic_id == "old"
    assert await worker._pipeline.drained(1)
    assert written_under == ["old"]
    running.cancel()


class _MadeAnew:
    """A topic of two partitions that was made anew, and is longer by now than what was stored; also its offsets."""

    def __init__(self) -> None:
        self.stored = {partition: Position(1000, 1, None, "old") for partition in (0, 1)}
        self._next = {0: 1000, 1: 1000}

    async def consume(self, _most: int, _seconds: float) -> list[Message]:
        found = [message(partition, offset) for partition, offset in self._next.items()]
        self._next = {partition: offset + 1 for partition, offset in self._next.items()}
        return found

    async def seek(self, place: TopicPartition) -> None:
        self._next[place.partition] = place.offset

    async def get_watermark_offsets(self, _partition: TopicPartition, **_how: Any) -> tuple[int, int]:
        return 0, 2000

    async def topic_id(self, *_arguments: Any) -> str:
        return "new"

    async def stored_now(self, partitions: list[int]) -> dict[int, Position]:
        return {partition: self.stored[partition] for partition in partitions}

    async def advance(self, spans: dict[int, Span]) -> None:
        if fenced := [p for p, span in spans.items() if self.stored[p].epoch != span.epoch]:
            raise Fenced(fenced)
        for partition, span in spans.items():
            self.stored[partition] = Position(span.next_offset, span.epoch, None, "new")


def worker_on(topic: _MadeAnew, monkeypatch: pytest.MonkeyPatch) -> Worker:
    worker = idle_worker()
    worker._consumer = topic
    worker._offsets = Offsets("cluster", "group", "topic", "", "old")
    monkeypatch.setattr("occupancy.kafka.consumer.topic_id", topic.topic_id)
    monkeypatch.setattr(worker, "_stored", topic.stored_now)
    monkeypatch.setattr(worker, "_advanced", topic.advance)
    return worker


@pytest.mark.parametrize("taken_over", [False, True])
async def test_of_a_topic_made_anew_nothing_is_left_out_once_the_loss_is_accepted(
    monkeypatch: pytest.MonkeyPatch, taken_over: bool
) -> None:
    topic = _MadeAnew()
    worker = worker_on(topic, monkeypatch)
    worker._accept_loss = True
    worker._assignment.hold(topic.stored)
    if taken_over:
        topic.stored[1] = Position(1000, 2, None, "old")
    written: list[Batch] = []

    class Writer:
        def read(self, batch: Batch) -> Batch:
            written.append(batch)
            return batch

    worker._writer = Writer()  # type: ignore[assignment]
    worker._pipeline = Pipeline(lambda _batch: asyncio.sleep(0))
    running = asyncio.create_task(worker._pipeline.run())
    while len(written) < 3:
        await worker._turn()
    running.cancel()
    ours = [0] if taken_over else [0, 1]
    assert [places(batch) for batch in written] == [
        [(partition, offset) for partition in ours] for offset in range(3)
    ]


async def test_which_topic_it_is_is_asked_when_a_partition_is_taken_over_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topic = _MadeAnew()
    worker = worker_on(topic, monkeypatch)

    async def claimed(partitions: list[int]) -> dict[int, Position]:
        return await topic.stored_now(partitions)

    monkeypatch.setattr(worker, "_claimed", claimed)
    worker._assigned, worker._reclaim_at = {0}, {0: 0.0}
    worker._identified_at = time.monotonic()
    with pytest.raises(MessagesLost, match="partition 0 of topic: the topic was made anew"):
        await worker._turn()


async def test_what_came_during_a_rebalance_is_thrown_away_and_fetched_again() -> None:
    worker = Worker(settings(kafka_topic="topic"), None)  # type: ignore[arg-type]
    worker._pipeline = Pipeline(lambda _batch: asyncio.sleep(0))
    worker._assignment.hold({0: Position(10, 1), 1: Position(5, 1)})
    consumer = _Rebalancing(worker)
    worker._consumer = consumer
    assert await worker._consume(10, 0.1) == []
    await worker._mend()
    # 0 was given away and came back, 7 to 9 of it were not stored; 1 was ours throughout
    assert sorted(consumer.sought) == [(0, 7), (1, 5)]


# Properties


def settings(**change: Any) -> Settings:
    return Settings(kafka_bootstrap_servers="broker:9092", **change)


def test_the_user_s_properties_are_passed_on(tmp_path: Path) -> None:
    file = tmp_path / "kafka.json"
    file.write_text('{"security.protocol": "SASL_SSL", "sasl.password": "from the file"}')
    given = settings(
        kafka_properties_file=file,
        kafka_properties=SecretStr('{"sasl.password": "from the variable", "session.timeout.ms": 9000}'),
    )
    for properties in (consumer_properties(given), producer_properties(given)):
        assert properties["security.protocol"] == "SASL_SSL"
        assert properties["sasl.password"] == "from the variable"
        assert properties["session.timeout.ms"] == 9000
        assert properties["bootstrap.servers"] == "broker:9092"
    assert "from the variable" not in repr(given)


@pytest.mark.parametrize(
    "properties",
    [
        '{"enable.auto.commit": true}', '{"auto.offset.reset": "latest"}', '{"acks": 1}',
        '{"group.id": "x"}', '{"group.protocol": "consumer"}',
        '{"sasl.password": ["secret-1"]}', '["secret-1"]', "secret-1",
    ],
)  # fmt: skip
def test_properties_that_cannot_be_are_refused_by_name(properties: str) -> None:
    with pytest.raises(InvalidInput, match="OCCUPANCY_KAFKA_PROPERTIES") as caught:
        consumer_properties(settings(kafka_properties=SecretStr(properties)))
    assert "secret-1" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_file_that_goes_away_does_not_end_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kafka.json"
    file.write_text('{"sasl.username": "from the file"}')
    asked: list[dict[str, Any]] = []

    class Consumer:
        def __init__(self, *_arguments: Any, **_more: Any) -> None: ...

        async def close(self) -> None: ...

    async def run(worker: Worker) -> None:
        file.unlink()
        worker._assignment.hold({0: Position(10, 1)})
        await worker._identify()

    async def topic_id(properties: dict[str, Any], _topic: str) -> None:
        asked.append(properties)

    monkeypatch.setattr("occupancy.kafka.consumer.AIOConsumer", Consumer)
    monkeypatch.setattr("occupancy.kafka.consumer.topic_id", topic_id)
    monkeypatch.setattr(Worker, "_run", run)
    await Worker(settings(kafka_properties_file=file), None).run()  # type: ignore[arg-type]
    assert [properties["sasl.username"] for properties in asked] == ["from the file"]


def test_without_brokers_there_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(InvalidInput, match="OCCUPANCY_KAFKA_BOOTSTRAP_SERVERS"):
        consumer_properties(Settings())


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"OCCUPANCY_KAFKA_PROPERTIES_FILE.*nowhere"):
        consumer_properties(settings(kafka_properties_file=Path("nowhere.json")))
