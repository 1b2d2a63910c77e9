"""What Prometheus scrapes."""

from __future__ import annotations

import os
from collections import Counter as Tally

from fastapi import APIRouter, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from occupancy.database import Database, Ingested
from occupancy.devices.store import Kept
from occupancy.reading import figures

router = APIRouter(tags=["operation"])

EVENTS = Counter("occupancy_events", "Events received, by what became of them.", ["outcome"])
_heartbeats = Counter("occupancy_heartbeats", "Heartbeats received, by what became of them.", ["outcome"])
_horizon_age = Gauge(
    "occupancy_horizon_age_seconds",
    "How far behind now the instant is up to which aggregates are trusted.",
    multiprocess_mode="mostrecent",
)
_stale_marks = Gauge(
    "occupancy_stale_marks", "Ranges of spaces that wait for repair.", multiprocess_mode="mostrecent"
)
_held_events = Gauge(
    "occupancy_held_events",
    "Events of Kafka and MQTT that wait until their chunk is compressed.",
    multiprocess_mode="mostrecent",
)
_refresh_age = Gauge(
    "occupancy_refresh_age_seconds",
    "Time since a refresh last ran to its end.",
    multiprocess_mode="mostrecent",
)


def count_events(result: Ingested) -> None:
    """Add the events of one request to the counters."""
    EVENTS.labels("accepted").inc(result.accepted)
    EVENTS.labels("duplicate").inc(result.duplicates)
    for code, number in Tally(event.code for event in result.rejected).items():
        EVENTS.labels(code).inc(number)


def count_queued(result: Ingested) -> None:
    """Add the events of one request that are in a log; what becomes of them, the worker counts that stores them."""
    EVENTS.labels("queued").inc(result.accepted + len(result.rejected))


def count_heartbeats(kept: Kept) -> None:
    """Add the heartbeats of one request, and what was rejected of their statements, to the counters."""
    _heartbeats.labels("accepted").inc(kept.accepted)
    _heartbeats.labels("older").inc(kept.older)
    for code, number in Tally(one.code for one in kept.rejected).items():
        _heartbeats.labels(code).inc(number)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Counters of this service, and how far the aggregates of the database are behind."""
    database: Database = request.app.state.database
    state = await database.refresh_state()
    _horizon_age.set(state.horizon_age)
    _stale_marks.set(state.stale_marks)
    _held_events.set(state.held_events)
    _refresh_age.set(state.refresh_age)
    replication = request.app.state.reads.replication
    if replication is not None:
        figures.show_replica(replication.replica)
    return Response(generate_latest(_registry()), media_type=CONTENT_TYPE_LATEST)


def _registry() -> CollectorRegistry:
    # Where several processes share the port, each writes its counters to files there.
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
