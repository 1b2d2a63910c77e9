"""kill -9 in the middle of ingest: every acknowledged event is there once, and every count is exact afterwards."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest

from occupancy import schema
from occupancy.embedded import EmbeddedDatabase
from tests.conftest import ROOT
from tests.sql.building import two_rooms

START = datetime(2026, 3, 2, tzinfo=UTC)
ROUNDS = 3
PATIENCE = 60


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class _Service:
    """`occupancy serve` as a process of its own, refreshing all the time."""

    def __init__(self, url: str) -> None:
        self._environment = os.environ | {
            "OCCUPANCY_DATABASE_URL": url,
            "OCCUPANCY_PORT": str(_free_port()),
            "OCCUPANCY_REFRESH_INTERVAL": "PT0.1S",
        }
        self.address = f"http://127.0.0.1:{self._environment['OCCUPANCY_PORT']}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "occupancy", "serve"],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            assert time.monotonic() < deadline, "the service did not start"
            try:
                if httpx.get(f"{self.address}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                assert self._process.poll() is None, "the service ended by itself"
            time.sleep(0.05)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


class _Device(threading.Thread):
    """Sends events, the same ones again until they are acknowledged, as a device does."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address
        self._stop_asked = threading.Event()
        self.acknowledged: list[dict[str, object]] = []
        self.failures = 0

    def run(self) -> None:
        rng = random.Random(1)
        number = 0
        while not self._stop_asked.is_set():
            batch: list[dict[str, object]] = []
            for _ in range(rng.randint(1, 20)):
                number += 1
                at = START + timedelta(seconds=rng.random() * 86400)
                batch.append(
                    {
                        "dpu_id": rng.choice(["283", "423"]),
                        "timestamp": at.isoformat(),
                        "direction": rng.choice([1, -1]),
                        "seq": number,
                    }
                )
            if self._send(batch):
                self.acknowledged += batch

    def _send(self, batch: list[dict[str, object]]) -> bool:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                answer = httpx.post(f"{self._address}/v1/events", json=batch, timeout=5)
                if answer.status_code == 200:
                    assert answer.json()["rejected"] == []
                    return True
            except httpx.TransportError:
                pass
            self.failures += 1
            time.sleep(0.02)
        return False

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(PATIENCE)


async def _prepare(url: str) -> tuple[int, int]:
    await schema.migrate(url)
    connection = await asyncpg.connect(url)
    try:
        return await two_rooms(connection)
    finally:
        await connection.close()


async def _check(url: str, spaces: tuple[int, int], acknowledged: list[dict[str, object]]) -> None:
    connection = await asyncpg.connect(url)
    try:
        stored = await connection.fetch(
            "SELECT dpu_id, time, seq, direction, count(*) AS copies "
            "FROM occupancy.crossing JOIN occupancy.dpu ON dpu.id = crossing.dpu GROUP BY 1, 2, 3, 4"
        )
        keys = {(row["dpu_id"], row["time"], row["seq"], row["direction"]): row["copies"] for row in stored}
        for event in acknowledged:
            at = datetime.fromisoformat(str(event["timestamp"]))
            assert keys.get((event["dpu_id"], at, event["seq"], event["direction"])) == 1
        assert set(keys.values()) == {1}
        wrong = await connection.fetchval(
            """
            SELECT count(*)
            FROM unnest($1::int[]) AS space
            CROSS JOIN generate_series($2::timestamptz, $3, INTERVAL '47 minutes') AS at
            WHERE (occupancy.count_at(space, at)).net <> (occupancy.recount_at(space, at)).net
            """,
            list(spaces),
            START,
            START + timedelta(days=1),
        )
        assert wrong == 0
    finally:
        await connection.close()


@contextmanager
def _embedded(directory: Path) -> Iterator[EmbeddedDatabase]:
    database = EmbeddedDatabase(directory, port=_free_port(), node_directory=ROOT / ".occupancy" / "node")
    database.start()
    try:
        yield database
    finally:
        database.stop()


@pytest.mark.parametrize("victim", ["service", "database"])
async def test_what_was_acknowledged_is_there_once_after_a_kill(tmp_path: Path, victim: str) -> None:
    with _embedded(tmp_path) as database:
        url = database.url()
        assert url is not None
        spaces = await _prepare(url)
        service = _Service(url)
        service.start()
        device = _Device(service.address)
        device.start()
        try:
            for _ in range(ROUNDS):
                _wait_for_more(device)
                if victim == "service":
                    service.kill()
                    await _check(url, spaces, list(device.acknowledged))
                    service.start()
                else:
                    pid = database.status().pid
                    assert pid is not None
                    os.kill(pid, signal.SIGKILL)
                    _wait_for_end(database)
                    database.start()
            _wait_for_more(device)
        finally:
            device.stop()
            service.kill()
        assert not device.is_alive()
        assert device.failures >= ROUNDS, "nothing was being sent when the process was killed"
        await _check(url, spaces, device.acknowledged)


def _wait_for_end(database: EmbeddedDatabase) -> None:
    deadline = time.monotonic() + PATIENCE
    while database.status().running:
        assert time.monotonic() < deadline, "the database outlived SIGKILL"
        time.sleep(0.01)


def _wait_for_more(device: _Device) -> None:
    enough = len(device.acknowledged) + 100
    deadline = time.monotonic() + PATIENCE
    while len(device.acknowledged) < enough:
        assert time.monotonic() < deadline, "no event was acknowledged any more"
        time.sleep(0.02)
