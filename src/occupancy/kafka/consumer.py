"""One worker of the group: from the topic into the database, each message once, whoever dies or freezes.

The position of each partition is in the database and moves in the transaction that stores the messages. Taking a
partition over raises its epoch, and a batch is stored only under the epoch that its worker holds: so one that was
frozen and wakes up can store nothing of what others have taken over.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar
from uuid import uuid4

from confluent_kafka import (
    OFFSET_BEGINNING,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.aio import AIOConsumer

from occupancy.database import DEFAULT_ORGANIZATION, Database
from occupancy.errors import BrokerUnavailable, InvalidInput, MessagesLost, OccupancyError
from occupancy.faults import is_transient
from occupancy.kafka import metrics
from occupancy.kafka.assignment import Assignment, Holding
from occupancy.kafka.batch import Batch, Span
from occupancy.kafka.dead_letters import DeadLetters
from occupancy.kafka.identity import topic_id
from occupancy.kafka.offsets import Fenced, Offsets, Position
from occupancy.kafka.pipeline import Pipeline
from occupancy.kafka.properties import asking_properties, consumer_properties, is_cooperative
from occupancy.kafka.writer import BatchWriter, Ready
from occupancy.settings import Settings

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

# Once the pipeline has been full for so long, partitions are paused and the group is served meanwhile.
_STALL_SECONDS = 1.0
# Before partitions are given away, what was fetched of them may be stored for so long.
_DRAIN_SECONDS = 10.0
# A rebalance waits for the database so long. Less than max.poll.interval.ms, after which Kafka goes on without us.
_CLAIM_SECONDS = 120.0
# A worker that finds itself fenced may not know yet that Kafka has given its partitions to another. If after this time
# Kafka still says that they are its own, it takes them over again.
_RECLAIM_SECONDS = 6.0
_METRICS_SECONDS = 5.0
# So often, and whenever partitions are given, it is asked which topic this is.
_IDENTITY_SECONDS = 60.0
_ASK_SECONDS = 10.0
_SEEK_TRIES = 20
# A turn of the worker takes less, whatever fails; /healthz says so.
_LONGEST_TURN = 60.0

# What no further try mends.
_REFUSALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    KafkaError.INVALID_SESSION_TIMEOUT,
    KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001 -- their public names begin so
    # Messages are damaged: going on would leave them out.
    KafkaError._BAD_MSG,  # noqa: SLF001
    KafkaError._BAD_COMPRESSION,  # noqa: SLF001
    KafkaError._NOT_IMPLEMENTED,  # noqa: SLF001
}
_NOT_THERE_YET = {
    KafkaError._STATE,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    KafkaError._PREV_IN_PROGRESS,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
}
# The topic has been deleted; the next one of this name may be another.
_TOPIC_GONE = {
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNKNOWN_TOPIC_ID,
    KafkaError.INCONSISTENT_TOPIC_ID,
}
# How librdkafka words it in the reason of an error whose code says no more than _AUTO_OFFSET_RESET.
_TRUNCATED = KafkaError(KafkaError._LOG_TRUNCATION).str()  # noqa: SLF001
_OFFSET_GONE = {
    KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
    KafkaError.OFFSET_OUT_OF_RANGE,
}


class NotStored(OccupancyError):
    """A worker was stopped before it could store what it had taken."""


def organization_of_topic(topic: str) -> int:  # noqa: ARG001
    """Whose events a topic holds. Today there is one organization; a topic for each would be told apart here."""
    return DEFAULT_ORGANIZATION


class Worker:
    """Runs until it is stopped, or until something happens that no further try mends.

    `accept_loss`: go on where the brokers no longer have messages that were never stored.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        dead_letters: DeadLetters | None = None,
        accept_loss: bool = False,
    ) -> None:
        self._settings = settings
        self._database = database
        self._dead_letters = dead_letters
        self._accept_loss = accept_loss
        self._topic = settings.kafka_topic
        self._assignment = Assignment()
        # What Kafka says is ours; of these, what is held under an epoch is in `_assignment`.
        self._assigned: set[int] = set()
        self._reclaim_at: dict[int, float] = {}
        self._rewind_due = False
        self._stopping = asyncio.Event()
        self._fatal: BaseException | None = None
        self._turned_at = time.monotonic()
        self._measured_at = 0.0
        self._identified_at = -_IDENTITY_SECONDS
        self._consumer: Any = None
        self._asking: dict[str, Any] = {}
        self._cooperative = True

    def stop(self) -> None:
        """Have `run` store what was fetched, leave the group and return."""
        self._stopping.set()

    def is_alive(self) -> bool:
        """Whether the worker has made a turn lately; also true while it waits for the database or the brokers."""
        return time.monotonic() - self._turned_at < _LONGEST_TURN

    async def run(self) -> None:
        """Consume until stopped.

        Raises InvalidInput for settings that cannot be, MessagesLost where the brokers no longer have what was never
        stored, BrokerUnavailable where they refuse, NotStored where it was stopped and the last batch was not stored in
        time, and what else no further try mends. The offsets in the database are right whatever happens.
        """
        properties = consumer_properties(self._settings)
        # Not each time: a file that goes away later must not end a worker.
        self._asking = asking_properties(self._settings)
        self._cooperative = is_cooperative(properties)
        executor = ThreadPoolExecutor(4, thread_name_prefix="kafka")
        try:
            self._consumer = AIOConsumer(properties | {"error_cb": self._on_error}, executor=executor)
        except (KafkaException, ValueError, TypeError) as error:
            executor.shutdown()
            raise InvalidInput(f"Kafka: {error}", field="OCCUPANCY_KAFKA_PROPERTIES") from error
        try:
            await self._run()
        finally:
            await self._consumer.close()
            await asyncio.to_thread(executor.shutdown)

    async def _run(self) -> None:
        cluster_id = await self._reach_brokers()
        if cluster_id is None:
            return
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._offsets = Offsets(cluster_id, self._settings.kafka_group, self._topic, owner)
        self._writer = BatchWriter(
            self._database,
            self._settings,
            self._offsets,
            organization_of_topic(self._topic),
            self._dead_letters,
            self._on_stored,
        )
        self._pipeline: Pipeline[Ready] = Pipeline(self._writer.write)
        writing = asyncio.create_task(self._pipeline.run())
        try:
            await self._consumer.subscribe(
                [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            _log.info("worker %s joins group %s", owner, self._settings.kafka_group)
            await self._turns()
            await self._finish()
        finally:
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing
            self._pipeline.give_up()

    async def _reach_brokers(self) -> str | None:
        """The id of the cluster, once it answers and has the topic; None if told to stop before."""
        while not self._stopping.is_set():
            self._turned_at = time.monotonic()
            try:
                cluster = await self._consumer.list_topics(self._topic, timeout=_ASK_SECONDS)
            except KafkaException as error:
                fault: KafkaError = error.args[0]
                self._refuse(fault)
            else:
                fault = cluster.topics[self._topic].error
                if fault is None:
                    return cluster.cluster_id or ""
                self._refuse(fault)
            _log.warning("waiting for topic %s of Kafka: %s", self._topic, fault.str())
            await self._pause(1.0)
        return None

    async def _turns(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._turn()
            except Exception as error:
                if not (self._stopping.is_set() and (_may_pass(error) or isinstance(error, NotStored))):
                    raise
                _log.warning("stopped while it waited: %s", error)

    async def _finish(self) -> None:
        """Store what was taken. Raises NotStored, and whatever kept it from being stored."""
        drained = await self._pipeline.drained(_DRAIN_SECONDS)
        fault = self._pipeline.take_fault()
        if isinstance(fault, Fenced):
            # whoever has taken over stores it
            _log.warning("%s; its batch is given up", fault)
        elif fault is not None:
            raise fault
        if not drained:
            raise NotStored(
                f"stopped before the last batch was stored: the database did not take it in {_DRAIN_SECONDS:g} s; "
                "nothing is lost: it is taken again at the next start"
            )

    # --- a turn ---

    async def _turn(self) -> None:
        self._turned_at = time.monotonic()
        if not await self._pipeline.room(_STALL_SECONDS):
            await self._sit_out()
        await self._mend()
        if await self._identify():
            # What is fetched now is not from there yet.
            return
        await self._measure()
        if self._stopping.is_set():
            return
        messages = await self._consume(
            self._settings.kafka_batch_size, self._settings.kafka_batch_wait.total_seconds()
        )
        if messages and (batch := self._assignment.take(messages)) is not None:
            self._pipeline.put(self._writer.read(batch))

    async def _consume(self, most: int, seconds: float) -> list[Message]:
        """Messages that may be taken. Never cancelled: it would take the messages with it."""
        generation = self._assignment.generation
        messages: list[Message] = await self._consumer.consume(most, seconds)
        if self._fatal is not None:
            raise self._fatal
        good = [message for message in messages if message.error() is None]
        if generation != self._assignment.generation:
            # Some may have come before the rebalance, some after: all are fetched again.
            self._discard(good)
            return []
        if len(good) < len(messages):
            for message in messages:
                if (error := message.error()) is not None:
                    await self._judge(error, message.partition())
            if self._rewind_due:
                self._discard(good)
                return []
        return good

    def _discard(self, messages: Collection[Message]) -> None:
        metrics.discarded.inc(len(messages))
        self._rewind_due = True

    async def _sit_out(self) -> None:
        """Serve the group, without taking messages, until there is room again."""
        _log.info("batches wait for the database: the partitions are paused")
        while not self._stopping.is_set():
            self._turned_at = time.monotonic()
            await self._consumer.pause(await self._consumer.assignment())
            await self._consume(1, 0.2)
            if await self._pipeline.room(_STALL_SECONDS):
                break
        await self._consumer.resume(await self._consumer.assignment())
        self._rewind_due = True

    async def _mend(self) -> None:
        fault = self._pipeline.take_fault()
        if isinstance(fault, Fenced):
            metrics.fenced.inc()
            _log.warning("%s; its batch is given up", fault)
            await self._recover()
        elif fault is not None:
            raise fault
        await self._reclaim()
        if self._rewind_due:
            await self._rewind()

    async def _recover(self) -> None:
        """After a batch was given up: go on where the database says, with what is still ours."""
        held = list(self._assignment.held)
        stored = await self._patiently(lambda: self._stored(held))
        gone = self._assignment.reset(stored)
        for partition in gone:
            self._reclaim_at[partition] = time.monotonic() + _RECLAIM_SECONDS
            self._forget_lag(partition)
        self._doubt_topic()
        self._rewind_due = True

    async def _reclaim(self) -> None:
        now = time.monotonic()
        due = [p for p, at in self._reclaim_at.items() if at <= now and p in self._assigned]
        if due:
            _log.warning(
                "partitions %s were fenced, but Kafka says that they are ours: taken over again", due
            )
            self._assignment.hold(await self._patiently(lambda: self._claimed(due)))
            for partition in due:
                del self._reclaim_at[partition]
            self._doubt_topic()
            self._rewind_due = True

    # --- positions ---

    async def _rewind(self) -> None:
        """Have every held partition fetched from the first message that was not taken."""
        self._rewind_due = False
        for partition, holding in self._assignment.held.items():
            self._turned_at = time.monotonic()
            await self._seek(self._place(partition, holding))

    async def _seek(self, place: TopicPartition) -> None:
        # Also what begins anew needs it: only a seek has the brokers asked whether their log was cut off before.
        if await self._sought(place):
            return
        # Its fetching has not begun, or has ended with an error.
        await self._assign_anew(place)
        if not await self._sought(place):
            self._rewind_due = True

    async def _sought(self, place: TopicPartition) -> bool:
        for _ in range(_SEEK_TRIES):
            try:
                await self._consumer.seek(place)
            except KafkaException as error:
                if error.args[0].code() not in _NOT_THERE_YET:
                    raise
                await asyncio.sleep(0.05)
            else:
                return True
        return False

    async def _assign_anew(self, place: TopicPartition) -> None:
        if self._cooperative:
            await self._consumer.incremental_unassign([TopicPartition(self._topic, place.partition)])
            await self._consumer.incremental_assign([place])
        else:
            held = self._assignment.held.items()
            await self._consumer.assign([self._place(partition, holding) for partition, holding in held])

    def _place(self, partition: int, holding: Holding) -> TopicPartition:
        if holding.taken is None:
            return TopicPartition(self._topic, partition, OFFSET_BEGINNING)
        if holding.leader_epoch is None:
            return TopicPartition(self._topic, partition, holding.taken)
        return TopicPartition(self._topic, partition, holding.taken, leader_epoch=holding.leader_epoch)

    # --- the group ---

    async def _on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        try:
            positions = await self._patiently(lambda: self._claimed(numbers), _CLAIM_SECONDS)
            self._assigned.update(numbers)
            for number in numbers:
                self._reclaim_at.pop(number, None)
            self._assignment.hold(positions)
            self._doubt_topic()
            places = [self._place(number, self._assignment.held[number]) for number in positions]
            await (consumer.incremental_assign(places) if self._cooperative else consumer.assign(places))
        except Exception as error:
            # It would surface once, and then messages would come from a position that is not ours.
            self._fatal = error
            raise
        self._count("assigned", numbers)

    async def _on_revoke(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        # What is on its way can still be stored, which spares the next owner the work. If not, it is fenced.
        await self._pipeline.drained(_DRAIN_SECONDS)
        self._let_go("revoked", partitions)

    async def _on_lost(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        self._let_go("lost", partitions)

    def _let_go(self, kind: str, partitions: list[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        self._assignment.drop(numbers)
        self._assigned.difference_update(numbers)
        for number in numbers:
            self._reclaim_at.pop(number, None)
            self._forget_lag(number)
        self._count(kind, numbers)

    def _forget_lag(self, partition: int) -> None:
        with suppress(KeyError):
            metrics.lag.remove(self._topic, str(partition))

    def _count(self, kind: str, numbers: list[int]) -> None:
        _log.info("partitions %s: %s", kind, numbers)
        metrics.rebalances.labels(kind).inc(len(numbers))
        metrics.partitions.set(len(self._assigned))

    # --- errors ---

    async def _on_error(self, error: KafkaError) -> None:
        metrics.broker_errors.labels(error.name()).inc()
        _log.warning("Kafka: %s", error.str())
        if error.fatal():
            self._fatal = BrokerUnavailable(f"Kafka: {error.str()}")

    async def _judge(self, error: KafkaError, partition: int | None) -> None:
        metrics.broker_errors.labels(error.name()).inc()
        self._refuse(error)
        if error.code() in _OFFSET_GONE and partition is not None and partition in self._assignment.held:
            await self._offset_gone(partition, error)
            return
        _log.warning("Kafka, partition %s of %s: %s", partition, self._topic, error.str())
        if error.code() in _TOPIC_GONE:
            # What came with it may be of another topic already.
            self._doubt_topic()
            self._rewind_due = True

    def _refuse(self, error: KafkaError) -> None:
        if error.fatal() or error.code() in _REFUSALS:
            raise BrokerUnavailable(f"Kafka: {error.str()}")

    async def _offset_gone(self, partition: int, error: KafkaError) -> None:
        """The brokers do not have the position, or not what was before it."""
        holding = self._assignment.held[partition]
        self._rewind_due = True
        position = holding.taken
        if position is None:
            return
        low, high = await self._patiently(lambda: self._ends(partition))
        if low <= position <= high and holding.leader_epoch is not None and _TRUNCATED not in error.str():
            # It has grown since. Asked again, the brokers know whether the log up to here is still the same.
            _log.warning("Kafka, partition %s of %s: %s; asked again", partition, self._topic, error.str())
            return
        losses = {partition: _loss(self._topic, partition, position, low, high)}
        self._require_accepted(losses)
        await self._go_on_without(losses)

    def _doubt_topic(self) -> None:
        """Have it asked before any message is taken: offsets from the database may be of another topic."""
        self._identified_at = -_IDENTITY_SECONDS

    async def _identify(self) -> bool:
        """Look whether this is still the topic whose offsets are stored: a new one counts from 0 again.

        Returns whether offsets were moved because it is not.
        """
        if time.monotonic() - self._identified_at < _IDENTITY_SECONDS or not self._assignment.held:
            return False
        self._identified_at = time.monotonic()
        found = await topic_id(self._asking, self._topic)
        if found is None:
            return False
        held = self._assignment.held
        losses = {
            partition: f"partition {partition} of {self._topic}: the topic was made anew since offset {holding.taken} "
            "was next"
            for partition, holding in held.items()
            if holding.taken is not None and holding.topic_id not in {None, found}
        }
        if losses:
            self._require_accepted(losses)
            # What is on its way is of the other one, and must not be noted as of this one.
            await self._settled()
        self._offsets.topic_id = found
        for holding in held.values():
            holding.topic_id = found
        if losses:
            await self._go_on_without(losses)
        return bool(losses)

    def _require_accepted(self, losses: dict[int, str]) -> None:
        if not self._accept_loss:
            said = "; ".join(losses.values())
            raise MessagesLost(f"{said}; to go on without them: occupancy consume --accept-loss")

    async def _go_on_without(self, losses: dict[int, str]) -> None:
        """Move offsets to the first message that the brokers have; `losses` says why, by partition."""
        await self._settled()
        spans = {}
        for partition, loss in losses.items():
            low, _ = await self._patiently(lambda: self._ends(partition))  # noqa: B023 -- called at once
            holding = self._assignment.held[partition]
            _log.error("%s; going on with offset %s", loss, low)
            metrics.lost.inc(max(low - (holding.taken or 0), 0))
            spans[partition] = Span(holding.epoch, holding.taken, low)
        try:
            await self._patiently(lambda: self._advanced(spans))
        except Fenced:
            # Whoever holds them now finds out by himself.
            metrics.fenced.inc()
        await self._recover()

    async def _settled(self) -> None:
        """Wait until all that was taken is stored, or given up. Raises NotStored once told to stop."""
        while not await self._pipeline.drained(_STALL_SECONDS):
            self._turned_at = time.monotonic()
            if self._stopping.is_set():
                raise NotStored("what was taken is not stored yet")

    async def _ends(self, partition: int) -> tuple[int, int]:
        """The first offset that the brokers have, and the one after the last."""
        try:
            low, high = await self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=_ASK_SECONDS
            )
        except KafkaException as error:
            fault: KafkaError = error.args[0]
            raise BrokerUnavailable(f"Kafka: {fault.str()}") from error
        return low, high

    # --- the database ---

    async def _patiently(self, work: Callable[[], Awaitable[_T]], seconds: float = float("inf")) -> _T:
        """Try again while the database or a broker is away, for so long, or until told to stop."""
        deadline = time.monotonic() + seconds
        while True:
            self._turned_at = time.monotonic()
            try:
                return await work()
            except Exception as error:
                if not _may_pass(error) or self._stopping.is_set() or time.monotonic() > deadline:
                    raise
                metrics.retries.inc()
                _log.warning("tried again: %s", error)
            await self._pause(1.0)

    async def _claimed(self, partitions: Collection[int]) -> dict[int, Position]:
        async with self._database.connection() as connection:
            positions = await self._offsets.claim(connection, partitions)
        if self._settings.kafka_start == "end":
            new = [partition for partition, position in positions.items() if position.next_offset is None]
            positions |= await self._started_at_end(new, positions)
        return positions

    async def _started_at_end(
        self, partitions: Iterable[int], positions: dict[int, Position]
    ) -> dict[int, Position]:
        """Note where the end is now: messages that come until the first one is stored count too."""
        started = {}
        for partition in partitions:
            _, high = await self._ends(partition)
            started[partition] = Position(high, positions[partition].epoch)
        if started:
            try:
                await self._advanced(
                    {p: Span(at.epoch, None, at.next_offset or 0) for p, at in started.items()}
                )
            except Fenced:
                # Another has taken them over meanwhile; the first batch of them is fenced.
                return {}
        return started

    async def _stored(self, partitions: Iterable[int]) -> dict[int, Position]:
        async with self._database.connection() as connection:
            return await self._offsets.stored(connection, partitions)

    async def _advanced(self, spans: dict[int, Span]) -> None:
        async with self._database.connection() as connection, connection.transaction():
            await self._offsets.advance(connection, spans)

    def _on_stored(self, batch: Batch) -> None:
        self._assignment.stored(batch.spans)

    # --- what else ---

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _measure(self) -> None:
        if time.monotonic() - self._measured_at < _METRICS_SECONDS:
            return
        self._measured_at = time.monotonic()
        for partition, holding in self._assignment.held.items():
            # As the latest fetch said: the brokers are not asked.
            low, high = await self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), cached=True
            )
            if high >= 0:
                stored = low if holding.stored is None else holding.stored
                metrics.lag.labels(self._topic, str(partition)).set(max(high - max(stored, 0), 0))


def _may_pass(error: BaseException) -> bool:
    return is_transient(error) or isinstance(error, BrokerUnavailable)


def _loss(topic: str, partition: int, position: int, low: int, high: int) -> str:
    where = f"partition {partition} of {topic}"
    if position < low:
        return f"{where}: the {low - position} offsets from {position} to {low - 1} are no longer in Kafka"
    if position > high:
        return f"{where}: offset {position} is next, but the partition ends at {high}: it was made anew or cut off"
    return f"{where}: the partition was cut off before offset {position}, which is next, and has grown to {high} since"
