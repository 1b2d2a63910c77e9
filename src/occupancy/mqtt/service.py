"""`occupancy mqtt-bridge`: the bridge with all that it needs, until a signal ends it."""

from __future__ import annotations

import asyncio
import signal

from occupancy.api.metrics import count_events, count_queued
from occupancy.database import Database
from occupancy.heap import collect_seldom
from occupancy.ingest.intake import Intake
from occupancy.monitoring import monitored
from occupancy.mqtt import metrics
from occupancy.mqtt.bridge import Bridge
from occupancy.mqtt.broker import Broker
from occupancy.mqtt.topic import Topic
from occupancy.settings import Settings


async def run_bridge(settings: Settings, database_url: str) -> None:
    """Take events from the broker of these settings until SIGTERM or SIGINT.

    With OCCUPANCY_INGEST=kafka events go into the topic, and the database is not used.
    Raises InvalidInput for settings that cannot be, DatabaseUnavailable where the database does not fit, and
    BrokerRefused if the broker does not let the bridge in the first time.
    """
    collect_seldom()
    broker = Broker.of(settings)
    topic = Topic.parse(settings.mqtt_topic)
    if settings.ingest == "database":
        await _require_schema(database_url)
    # The broker waits for what is durable, not for what is counted; one message must not hold up all others.
    async with Intake.open(database_url, settings, hold=True) as intake:
        count = count_queued if intake.only_queues else count_events
        bridge = Bridge(broker, topic, intake, settings, count)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, bridge.stop)
        with monitored(
            settings.metrics_host, settings.metrics_port, metrics.registry, lambda: bridge.is_alive
        ):
            await bridge.run()


async def _require_schema(database_url: str) -> None:
    database = await Database.connect(database_url, 1)
    try:
        await database.require_schema()
    finally:
        await database.close()
