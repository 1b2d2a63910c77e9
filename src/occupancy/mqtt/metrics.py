"""What Prometheus learns of a bridge. In a registry of its own: the service has other things to tell."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from occupancy.api.metrics import EVENTS

registry = CollectorRegistry()
registry.register(EVENTS)
ProcessCollector(registry=registry)

received = Counter(
    "occupancy_mqtt_messages_received",
    "Messages received, those delivered again too.",
    ["qos"],
    registry=registry,
)
acknowledged = Counter(
    "occupancy_mqtt_messages_acknowledged",
    "Messages acknowledged to the broker: what they say is durable.",
    registry=registry,
)
in_flight = Gauge(
    "occupancy_mqtt_messages_in_flight", "Messages received and not durable yet.", registry=registry
)
connected = Gauge("occupancy_mqtt_connected", "1 while connected and subscribed, else 0.", registry=registry)
connections = Counter(
    "occupancy_mqtt_connections",
    "Connections made; all but the first are reconnections.",
    registry=registry,
)
sessions_lost = Counter(
    "occupancy_mqtt_sessions_lost",
    "Reconnections at which the broker had forgotten the session, and its messages.",
    registry=registry,
)
put_failures = Counter(
    "occupancy_mqtt_put_failures",
    "Times that events could not be stored, by the error; tried again.",
    ["error"],
    registry=registry,
)
latency = Histogram(
    "occupancy_mqtt_acknowledgement_seconds",
    "From the reception of a message until it was acknowledged.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
    registry=registry,
)
