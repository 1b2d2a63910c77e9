"""A worker as a process: what it holds, and how it is stopped."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack

import asyncpg
from confluent_kafka import KafkaException

from occupancy.database import Database
from occupancy.errors import BrokerUnavailable
from occupancy.heap import collect_seldom
from occupancy.kafka import metrics
from occupancy.kafka.consumer import Worker
from occupancy.kafka.dead_letters import DeadLetters
from occupancy.kafka.producer import LogProducer
from occupancy.kafka.properties import producer_properties
from occupancy.kafka.writer import DatabaseRefuses
from occupancy.monitoring import monitored
from occupancy.settings import Settings

# One writes, one takes partitions over.
_CONNECTIONS = 2
# A frozen worker may hold a row for as long as its transaction may idle (see database.py); nobody waits longer than
# this at a time.
_LOCK_TIMEOUT = "5s"


async def run_worker(settings: Settings, database_url: str, *, accept_loss: bool = False) -> None:
    """Consume until SIGTERM or SIGINT. Raises what `Worker.run` raises, and DatabaseUnavailable."""
    collect_seldom()
    async with AsyncExitStack() as held:
        database = await Database.connect(database_url, _CONNECTIONS, lock_timeout=_LOCK_TIMEOUT)
        held.push_async_callback(database.close)
        await database.require_schema()
        dead_letters = None
        if settings.kafka_dead_letter_topic is not None:
            producer = await held.enter_async_context(LogProducer(producer_properties(settings)))
            dead_letters = DeadLetters(producer, settings.kafka_dead_letter_topic)
        worker = Worker(settings, database, dead_letters=dead_letters, accept_loss=accept_loss)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        with monitored(settings.metrics_host, settings.metrics_port, metrics.registry, worker.is_alive):
            try:
                await worker.run()
            except asyncpg.PostgresError as error:
                raise DatabaseRefuses(f"the database refuses: {error}") from error
            except KafkaException as error:
                raise BrokerUnavailable(f"Kafka: {error.args[0].str()}") from error
