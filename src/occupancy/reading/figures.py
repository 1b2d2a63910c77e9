"""Where reads went, for Prometheus."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Literal, Protocol

from prometheus_client import Counter, Gauge

_reads = Counter("occupancy_reads", "Requests that read, by where the first of their reads went.", ["source"])
_fallbacks = Counter(
    "occupancy_read_fallbacks", "Requests that the primary answered in place of the replica.", ["reason"]
)
_refused = Counter(
    "occupancy_reads_refused", "Requests that were refused because the replica could not answer.", ["reason"]
)
_conflicts = Counter(
    "occupancy_read_conflicts", "Statements that the replica ended because they held up its replay."
)
_lag = Gauge(
    "occupancy_replica_lag_seconds",
    "How old what the replica holds is; +Inf: older than is known; NaN: there is no replica.",
    multiprocess_mode="mostrecent",
)
_usable = Gauge(
    "occupancy_replica_usable",
    "1 where reads go to the replica; NaN: there is none.",
    multiprocess_mode="mostrecent",
)
for _gauge in (_lag, _usable):
    _gauge.set(math.nan)


class Watched(Protocol):
    """What is known of a replica."""

    @property
    def lag(self) -> timedelta | None:
        """How old what it holds is; None: that is not known."""

    @property
    def fault(self) -> Exception | None:
        """Why it is not asked; None: it is."""


def show_replica(replica: Watched) -> None:
    """Set the gauges to how the replica is now."""
    _lag.set(math.inf if replica.lag is None else replica.lag.total_seconds())
    _usable.set(replica.fault is None)


def read(source: Literal["replica", "primary"]) -> None:
    """A request read from there first."""
    _reads.labels(source).inc()


def fell_back(reason: str) -> None:
    """A request went on at the primary."""
    _fallbacks.labels(reason).inc()


def refused(reason: str) -> None:
    """A request was refused."""
    _refused.labels(reason).inc()


def conflict() -> None:
    """A statement was ended."""
    _conflicts.inc()
