"""What Prometheus learns of a worker and of a producer."""

from __future__ import annotations

import time

from prometheus_client import Counter, Gauge, Histogram

lag = Gauge(
    "occupancy_kafka_lag_messages",
    "Messages of a partition that are not stored yet, as of the latest fetch.",
    ["topic", "partition"],
)
partitions = Gauge("occupancy_kafka_partitions", "Partitions that this worker holds.")
rebalances = Counter(
    "occupancy_kafka_rebalances", "Partitions given, taken away in peace, or lost, by occasion.", ["kind"]
)
batch_messages = Histogram(
    "occupancy_kafka_batch_messages",
    "Messages stored in one transaction.",
    buckets=(1, 10, 100, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000),
)
batch_seconds = Histogram(
    "occupancy_kafka_batch_seconds",
    "How long the transaction of a batch took.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
fenced = Counter(
    "occupancy_kafka_fenced_batches", "Batches given up since another worker holds their partitions."
)
retries = Counter("occupancy_kafka_retries", "Transactions tried again, since the database failed.")
discarded = Counter(
    "occupancy_kafka_discarded_messages", "Messages fetched during a rebalance, and fetched again after it."
)
lost = Counter("occupancy_kafka_lost_messages", "Messages given up by --accept-loss.")
broker_errors = Counter("occupancy_kafka_broker_errors", "Errors that librdkafka reported.", ["code"])
dead_letters = Counter(
    "occupancy_kafka_dead_letters", "Copies for the dead-letter topic, by outcome.", ["outcome"]
)
produced = Counter("occupancy_kafka_produced_events", "Events sent to the topic, by outcome.", ["outcome"])
last_commit_age = Gauge(
    "occupancy_kafka_last_commit_age_seconds", "Time since this worker last stored a batch, or began."
)

_committed_at = time.monotonic()
last_commit_age.set_function(lambda: time.monotonic() - _committed_at)


def committed(messages: int, seconds: float) -> None:
    """A batch was stored."""
    global _committed_at  # noqa: PLW0603 -- one process, one worker
    _committed_at = time.monotonic()
    batch_messages.observe(messages)
    batch_seconds.observe(seconds)
