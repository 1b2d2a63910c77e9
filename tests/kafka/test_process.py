"""`occupancy consume` and `occupancy serve --ingest kafka` as processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from tests.kafka.brokers import Broker, MockCluster, free_port
from tests.kafka.conftest import PATIENCE, crossings, event, stored_offsets

PROPERTIES = '{"session.timeout.ms": 2000, "heartbeat.interval.ms": 500, "sasl.password": "hunter2"}'


def command(*words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "occupancy", *words],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def settings(url: str, broker: Broker, topic: str, **more: str) -> dict[str, str]:
    return {
        "OCCUPANCY_DATABASE_URL": url,
        "OCCUPANCY_KAFKA_BOOTSTRAP_SERVERS": broker.address,
        "OCCUPANCY_KAFKA_TOPIC": topic,
        "OCCUPANCY_KAFKA_PROPERTIES": PROPERTIES,
        **more,
    }


def answer(url: str) -> httpx.Response | None:
    try:
        return httpx.get(url, timeout=5)
    except httpx.TransportError:
        return None


def text(url: str) -> str:
    return httpx.get(url, timeout=30).text


def post(url: str, body: Any, **headers: str) -> tuple[int, Any]:
    response = httpx.post(url, json=body, headers=headers, timeout=30)
    return response.status_code, response.json()


@pytest.mark.usefixtures("rooms")
async def test_from_http_through_the_log_to_the_count(
    broker: Broker, topic: str, database_url: str, connection: asyncpg.Connection
) -> None:
    service, metrics = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    serve = command(
        "serve", "--ingest", "kafka",
        **settings(database_url, broker, topic, OCCUPANCY_PORT=service.rpartition(":")[2], OCCUPANCY_REFRESH="off"),
    )  # fmt: skip
    consume = command(
        "consume",
        **settings(database_url, broker, topic, OCCUPANCY_METRICS_PORT=metrics.rpartition(":")[2]),
    )
    try:
        _wait(lambda: answer(f"{service}/readyz") is not None, serve)
        body: list[Any] = [event(1), event(2, "423"), event(3, direction=9), event(1), event(4, "unknown")]
        status, given = post(f"{service}/v1/events?receipts=true", body)
        assert status == 202
        assert given["queued"] == 4
        assert [(r["index"], r["code"]) for r in given["rejected"]] == [(2, "invalid_direction")]
        assert [r["status"] for r in given["receipts"]] == [
            "queued",
            "queued",
            "rejected",
            "queued",
            "queued",
        ]
        # a repetition under a key is answered alike, and adds nothing
        for _ in range(2):
            again = post(f"{service}/v1/events", event(1), **{"Idempotency-Key": "k"})
            assert again == (202, {"queued": 1, "rejected": []})
        deadline = time.monotonic() + PATIENCE
        while await stored_offsets(connection, topic) < 7:
            assert time.monotonic() < deadline
            assert consume.poll() is None, consume.communicate()
            await asyncio.sleep(0.1)
        assert await crossings(connection) == [1, 2]
        count = json.loads(text(f"{service}/v1/spaces/A/count"))
        assert (count["entries"], count["count"]) == (2, 2)
        kept = await connection.fetch("SELECT code FROM occupancy.rejected_event ORDER BY code")
        assert [row["code"] for row in kept] == ["invalid_direction", "unknown_dpu"]
        scraped = text(f"{metrics}/metrics")
        assert 'occupancy_events_total{outcome="accepted"} 2.0' in scraped
        assert 'occupancy_events_total{outcome="duplicate"} 3.0' in scraped
        assert "occupancy_kafka_partitions 3.0" in scraped
        # the service's own, which would say nothing here
        assert "occupancy_horizon_age_seconds" not in scraped
        assert "occupancy_kafka_last_commit_age_seconds" in scraped
        assert 'occupancy_events_total{outcome="queued"} 7.0' in text(f"{service}/metrics")
        health = answer(f"{metrics}/healthz")
        assert health is not None
        assert health.status_code == 200
        _wait(lambda: 'lag_messages{partition="0"' in text(f"{metrics}/metrics"), consume)
        lags = [x for x in text(f"{metrics}/metrics").splitlines() if "lag_messages{" in x]
        assert all(line.endswith(" 0.0") for line in lags), lags
    finally:
        consume.send_signal(signal.SIGTERM)
        serve.send_signal(signal.SIGTERM)
        printed = [process.communicate(timeout=PATIENCE)[0] for process in (consume, serve)]
    assert consume.returncode == 0, printed[0]
    assert "Traceback" not in printed[0] + printed[1]
    assert "hunter2" not in printed[0] + printed[1]
    assert "partitions revoked: [0, 1, 2]" in printed[0]


def _wait(condition: Any, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.native
async def test_a_function_that_is_missing_is_one_line_and_exit_status_1(
    broker: Broker, topic: str, native_url: str
) -> None:
    """An error inside the callback in which partitions are taken over."""
    connection = await asyncpg.connect(native_url)
    await connection.execute(
        "ALTER FUNCTION occupancy.claim_partitions(text, text, text, integer[], text) RENAME TO away"
    )
    await connection.close()
    process = command("consume", **settings(native_url, broker, topic))
    printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "error: the database refuses: function occupancy.claim_partitions" in " ".join(printed.split())
    assert "Traceback" not in printed


@pytest.mark.native
async def test_a_worker_that_is_stopped_before_its_last_batch_is_stored_says_so_by_exit_status_1(
    broker: Broker, topic: str, native_url: str
) -> None:
    process = command("consume", **settings(native_url, broker, topic))
    try:
        connection = await asyncpg.connect(native_url)
        broker.send_events(topic, [event(1)])
        await _until(lambda: _passed(connection, topic, 1), process)
        async with connection.transaction():
            await connection.execute("SELECT FROM occupancy.kafka_offset FOR UPDATE")
            broker.send_events(topic, [event(2)])
            other = await asyncpg.connect(native_url)
            await _until(lambda: _waits_for_a_lock(other), process)
            process.terminate()
            printed = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
        assert await stored_offsets(other, topic) == 1
    finally:
        process.kill()
    assert process.returncode == 1, printed
    assert "error: stopped before the last batch was stored" in " ".join(printed[0].split())
    assert "Traceback" not in printed[0]
    await other.close()
    await connection.close()


async def test_a_worker_that_cannot_tell_the_brokers_that_it_goes_ends_all_the_same(
    cluster: MockCluster, database_url: str, connection: asyncpg.Connection
) -> None:
    """All that it took is stored. The others wait for its session to end."""
    cluster.create_topic("events", 3)
    process = command("consume", **settings(database_url, cluster, "events"))
    try:
        cluster.send_events("events", [event(1)])
        await _until(lambda: _passed(connection, "events", 1), process)
        cluster.order("down")
        process.terminate()
        printed = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, printed
    assert "Traceback" not in printed[0]


async def _until(condition: Callable[[], Awaitable[bool]], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def _passed(connection: asyncpg.Connection, topic: str, messages: int) -> bool:
    return await stored_offsets(connection, topic) == messages


async def _waits_for_a_lock(connection: asyncpg.Connection) -> bool:
    waiting: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'occupancy' AND wait_event_type = 'Lock')"
    )
    return waiting


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["consume"], {}, "set OCCUPANCY_KAFKA_BOOTSTRAP_SERVERS"),
        (["serve", "--ingest", "kafka"], {}, "set OCCUPANCY_KAFKA_BOOTSTRAP_SERVERS"),
        (
            ["consume"],
            {"OCCUPANCY_KAFKA_BOOTSTRAP_SERVERS": "x", "OCCUPANCY_KAFKA_PROPERTIES": "{hunter2"},
            "not JSON",
        ),
        (["consume"], {"OCCUPANCY_KAFKA_START": "middle"}, "OCCUPANCY_KAFKA_START"),
    ],
)
async def test_a_setting_that_cannot_be_is_one_line_and_exit_status_1(
    database_url: str, words: list[str], environment: dict[str, str], said: str
) -> None:
    process = command(*words, OCCUPANCY_DATABASE_URL=database_url, **environment)
    printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert said in " ".join(printed.split())
    assert "Traceback" not in printed
    assert "hunter2" not in printed
