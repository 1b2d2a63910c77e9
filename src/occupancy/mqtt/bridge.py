"""The bridge: from messages to events that are durable, and only then to acknowledgements."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import asyncpg

from occupancy.api.metrics import count_events
from occupancy.database import DEFAULT_ORGANIZATION, Ingested
from occupancy.errors import BrokerUnavailable, InvalidInput, OccupancyError, TooLarge
from occupancy.ingest.sink import Sink
from occupancy.mqtt import metrics
from occupancy.mqtt.backoff import Backoff
from occupancy.mqtt.broker import Broker
from occupancy.mqtt.connection import Connection
from occupancy.mqtt.errors import BrokerRefused
from occupancy.mqtt.inbox import Inbox
from occupancy.mqtt.message import Message
from occupancy.mqtt.payload import Reader, given_up, portions
from occupancy.mqtt.topic import Topic
from occupancy.parse import Parsed
from occupancy.settings import Settings

_log = logging.getLogger(__name__)

# Memory for messages that wait, as a multiple of the largest payload; and of one write.
_PAYLOADS_HELD = 4
# Above this, reading a batch takes long enough to hold up the connection.
_LARGE_BATCH = 256 * 1024
# Seconds for what was received to become durable, once the bridge is told to stop. Containers are killed after ten.
_GRACE = 7.0
# A connection that has held for so many seconds was a good one.
_STABLE = 30.0
# The loop turns every second, unless it hangs.
_LONGEST_BEAT = 30.0
# These lie in the events, not in the sink: the same events fail again.
_LASTING = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    InvalidInput,
    TooLarge,
    RecursionError,
    TypeError,
    ValueError,
)


class Bridge:
    """Takes messages from a broker and puts their events into a sink, until it is told to stop."""

    def __init__(
        self,
        broker: Broker,
        topic: Topic,
        sink: Sink,
        settings: Settings,
        count: Callable[[Ingested], None] = count_events,
    ) -> None:
        """`count` is called with what became of each batch, when it is durable."""
        self._broker = broker
        self._topic = topic
        self._sink = sink
        self._count = count
        self._settings = settings
        self._reader = Reader(topic, settings.max_body_bytes)
        # Twice the window: what came by the connection before, and what comes by the next one.
        self._inbox = Inbox(
            2 * broker.max_inflight, _PAYLOADS_HELD * settings.max_body_bytes, self._hold_or_go_on
        )
        self._stop = asyncio.Event()
        self._connection: Connection | None = None
        self._is_connected = False
        self._was_connected = False
        self._storing_fails = False
        self._last_beat = monotonic()

    @property
    def is_alive(self) -> bool:
        """Whether the loop still turns; a broker or database that is away is no reason to end the process."""
        return monotonic() - self._last_beat < _LONGEST_BEAT

    def stop(self) -> None:
        """Store and acknowledge what was received, leave the rest to the broker, and disconnect."""
        self._stop.set()
        if self._connection is not None and not self._is_connected:
            self._connection.abort()

    async def run(self) -> None:
        """Work until `stop`. Raises BrokerRefused if the broker does not let the bridge in the first time."""
        writing = asyncio.create_task(self._write())
        connecting = asyncio.create_task(self._keep_connected())
        beating = asyncio.create_task(self._beat())
        try:
            await asyncio.wait({writing, connecting}, return_when=asyncio.FIRST_COMPLETED)
            self._stop.set()
            await connecting
            await self._finish(writing)
        finally:
            for task in (writing, beating):
                task.cancel()
            await asyncio.gather(writing, beating, return_exceptions=True)
            if self._connection is not None:
                await self._connection.close()
            metrics.connected.set(0)

    async def _finish(self, writing: asyncio.Task[None]) -> None:
        if self._connection is not None:
            self._connection.stop_receiving()
        self._inbox.end()
        done, _ = await asyncio.wait({writing}, timeout=_GRACE)
        if done:
            writing.result()
        else:
            _log.warning(
                "stopped with %d messages that could not be stored: the broker keeps them", len(self._inbox)
            )

    # The connection

    async def _keep_connected(self) -> None:
        backoff = Backoff(0.5, 30)
        trouble = ""
        while not self._stop.is_set():
            await self._unless_stopped(self._inbox.half_empty())
            began = monotonic()
            try:
                await self._stay_connected()
                trouble = ""
            except (BrokerRefused, BrokerUnavailable) as error:
                if isinstance(error, BrokerRefused) and not self._was_connected:
                    raise
                if error.detail != trouble:
                    _log.warning("%s; trying again", error.detail)
                trouble = error.detail
            if monotonic() - began > _STABLE:
                backoff.reset()
            if not self._stop.is_set():
                await self._pause(backoff.next())

    async def _stay_connected(self) -> None:
        """Connect, and wait for the end of the connection, or for `stop`: then it stays open."""
        connection = self._connection = Connection(self._broker, self._receive)
        await connection.open(self._topic)
        self._on_connected(connection)
        await self._unless_stopped(connection.ended())
        if not connection.is_open:
            self._is_connected = False
            metrics.connected.set(0)
            _log.warning("no longer connected to %s: %s", self._broker, await connection.ended())

    def _on_connected(self, connection: Connection) -> None:
        is_first = not self._was_connected
        self._is_connected = self._was_connected = True
        metrics.connections.inc()
        metrics.connected.set(1)
        kept = "a session that the broker has kept" if connection.session_present else "a new session"
        _log.info("connected to %s, with %s; taking %s", self._broker, kept, self._topic.filter)
        if not is_first and not connection.session_present:
            metrics.sessions_lost.inc()
            _log.error("the broker has forgotten the session: what was published meanwhile did not come")
        if connection.session_expiry < self._broker.session_expiry:
            _log.warning(
                "the broker keeps the session for %d s, not the %d s of OCCUPANCY_MQTT_SESSION_EXPIRY",
                connection.session_expiry,
                self._broker.session_expiry,
            )
        if connection.granted_qos < 1:
            _log.error("the broker delivers with QoS 0 only: it does not wait for acknowledgements")

    def _receive(self, message: Message) -> None:
        metrics.received.labels(message.qos).inc()
        self._inbox.add(message)

    def _hold_or_go_on(self) -> None:
        metrics.in_flight.set(len(self._inbox))
        if self._connection is None:
            return
        if self._inbox.is_full:
            self._connection.pause()
        elif not self._inbox.is_half_full:
            self._connection.resume()

    # The way to the sink

    async def _write(self) -> None:
        while messages := await self._inbox.take(self._settings.max_body_bytes):
            try:
                await self._put(await self._read(messages))
            except _LASTING as error:
                _log.warning("a batch of %d messages is stored one by one: %r", len(messages), error)
                for message in messages:
                    await self._put_alone(message)
            else:
                self._acknowledge(messages)

    async def _put_alone(self, message: Message) -> None:
        try:
            await self._put(await self._read([message]))
        except _LASTING as error:
            _log.error("a message cannot be stored, and is kept aside: %r", error)
            await self._put(given_up([message], error))
        self._acknowledge([message])

    async def _read(self, messages: Sequence[Message]) -> Parsed:
        settings = self._settings
        clock = settings.clock()
        if sum(message.size for message in messages) > _LARGE_BATCH:
            return await asyncio.to_thread(self._reader.read, messages, clock)
        return self._reader.read(messages, clock)

    async def _put(self, parsed: Parsed) -> None:
        if not len(parsed):
            return
        for portion in portions(parsed, self._settings.max_events_per_transaction):
            await self._put_portion(portion)

    async def _put_portion(self, portion: Parsed) -> None:
        """Try until it is durable. Raises what lies in the events themselves."""
        backoff = Backoff(0.1, 5)
        while True:
            try:
                result = await self._sink.put(DEFAULT_ORGANIZATION, portion)
            except _LASTING:
                raise
            except Exception as error:
                # whatever it is, the broker must not forget the messages
                self._on_failure(error)
                await asyncio.sleep(max(backoff.next(), getattr(error, "retry_after", 0)))
            else:
                self._on_success()
                self._count(result)
                return

    def _on_failure(self, error: Exception) -> None:
        metrics.put_failures.labels(type(error).__name__).inc()
        if not self._storing_fails:
            is_known = isinstance(error, OccupancyError)
            _log.warning(
                "events cannot be stored: %s; trying again",
                error if is_known else repr(error),
                exc_info=None if is_known else error,
            )
        self._storing_fails = True

    def _on_success(self) -> None:
        if self._storing_fails:
            _log.info("events are stored again")
        self._storing_fails = False

    def _acknowledge(self, messages: Sequence[Message]) -> None:
        now = monotonic()
        for message in messages:
            if message.connection.acknowledge(message):
                metrics.acknowledged.inc()
                metrics.latency.observe(now - message.received)
        self._inbox.release(messages)

    # Waiting

    async def _unless_stopped(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Wait for something, or for `stop`."""
        waiting = asyncio.create_task(coroutine)
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in (waiting, stopped):
            task.cancel()
        await asyncio.gather(waiting, stopped, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            self._last_beat = monotonic()
            await asyncio.sleep(1)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)
