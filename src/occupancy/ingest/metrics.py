"""What Prometheus is told of ingest."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

EVENTS_WAITING = Gauge(
    "occupancy_events_waiting", "Events that wait for the database.", multiprocess_mode="livesum"
)
GROUP_EVENTS = Histogram(
    "occupancy_group_events",
    "Events that were written together.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000),
)
GROUP_SECONDS = Histogram(
    "occupancy_group_seconds",
    "Seconds that writing them took.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
REQUESTS_REFUSED = Counter(
    "occupancy_requests_refused",
    "Requests that were refused because too much waited, or for their key's limit.",
)
