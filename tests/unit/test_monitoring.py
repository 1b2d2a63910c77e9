"""Metrics and health of a worker, whoever else is connected."""

from __future__ import annotations

import socket
import time

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from occupancy.errors import InvalidInput
from occupancy.monitoring import monitored

HOST = "127.0.0.1"


def test_a_connection_that_says_nothing_holds_up_nobody() -> None:
    registry = CollectorRegistry()
    Counter("seen", "Seen.", registry=registry).inc()
    with monitored(HOST, 0, registry, lambda: True) as port, socket.create_connection((HOST, port or 0)):
        time.sleep(0.1)
        assert "seen_total 1.0" in httpx.get(f"http://{HOST}:{port}/metrics", timeout=5).text
        assert httpx.get(f"http://{HOST}:{port}/healthz", timeout=5).status_code == 200
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 5


def test_health_is_503_where_the_work_is_stuck() -> None:
    with monitored(HOST, 0, CollectorRegistry(), lambda: False) as port:
        assert httpx.get(f"http://{HOST}:{port}/healthz", timeout=5).status_code == 503


def test_a_taken_port_is_named() -> None:
    with (
        monitored(HOST, 0, CollectorRegistry(), lambda: True) as port,
        pytest.raises(InvalidInput, match=str(port)),
        monitored(HOST, port, CollectorRegistry(), lambda: True),
    ):
        pass
