"""What Prometheus learns of a worker. In a registry of its own: the service has other things to tell."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from occupancy.api.metrics import EVENTS

registry = CollectorRegistry()
registry.register(EVENTS)
ProcessCollector(registry=registry)

lag = Gauge(
    "occupancy_kafka_lag_messages",
    "Messages of a partition that are not stored yet, as of the latest fetch.",
    ["topic", "partition"],
    registry=registry,
)
partitions = Gauge("occupancy_kafka_partitions", "Partitions that this worker holds.", registry=registry)
rebalances = Counter(
    "occupancy_kafka_rebalances",
    "Partitions given, taken away in peace, or lost, by occasion.",
    ["kind"],
    registry=registry,
)
batch_messages = Histogram(
    "occupancy_kafka_batch_messages",
    "Messages stored in one transaction.",
    buckets=(1, 10, 100, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000),
    registry=registry,
)
batch_seconds = Histogram(
    "occupancy_kafka_batch_seconds",
    "How long the transaction of a batch took.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=registry,
)
fenced = Counter(
    "occupancy_kafka_fenced_batches",
    "Batches given up since another worker holds their partitions.",
    registry=registry,
)
retries = Counter(
    "occupancy_kafka_retries", "Transactions tried again, since the database failed.", registry=registry
)
discarded = Counter(
    "occupancy_kafka_discarded_messages",
    "Messages fetched during a rebalance, and fetched again after it.",
    registry=registry,
)
lost = Counter("occupancy_kafka_lost_messages", "Messages given up by --accept-loss.", registry=registry)
broker_errors = Counter(
    "occupancy_kafka_broker_errors", "Errors that librdkafka reported.", ["code"], registry=registry
)
dead_letters = Counter(
    "occupancy_kafka_dead_letters",
    "Copies for the dead-letter topic, by outcome.",
    ["outcome"],
    registry=registry,
)
last_commit_age = Gauge(
    "occupancy_kafka_last_commit_age_seconds",
    "Time since this worker last stored a batch, or began.",
    registry=registry,
)

_committed_at = time.monotonic()
last_commit_age.set_function(lambda: time.monotonic() - _committed_at)


def committed(messages: int, seconds: float) -> None:
    """A batch was stored."""
    global _committed_at  # noqa: PLW0603 -- one process, one worker
    _committed_at = time.monotonic()
    batch_messages.observe(messages)
    batch_seconds.observe(seconds)
