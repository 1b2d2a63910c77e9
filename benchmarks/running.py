"""The service and the load as processes of their own, and what they and the database use meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from benchmarks.processes import parent, usage

KEY = "a-key-for-benchmarks-only"
_START_SECONDS = 60
_STOP_SECONDS = 60
_SAMPLE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Service:
    """`occupancy serve`, running."""

    url: str
    process: int


@contextmanager
def service(
    database_url: str, log: Path, workers: int = 1, settings: dict[str, str] | None = None
) -> Iterator[Service]:
    """The service on a database, with so many processes, until the end; `settings` are environment variables."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = os.environ | {
        "OCCUPANCY_DATABASE_URL": database_url,
        "OCCUPANCY_PORT": str(port),
        "OCCUPANCY_API_KEY": KEY,
        **(settings or {}),
    }
    command = [sys.executable, "-m", "occupancy", "serve"]
    if workers > 1:
        command += ["--workers", str(workers)]
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)  # noqa: S603 -- itself
        try:
            _wait_until_ready(f"http://127.0.0.1:{port}", process, log)
            yield Service(f"http://127.0.0.1:{port}", process.pid)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def serves_with_workers() -> bool:
    """Whether this version of the service runs in several processes."""
    shown = subprocess.run(
        [sys.executable, "-m", "occupancy", "serve", "--help"], capture_output=True, text=True, check=True
    )
    return "--workers" in re.sub(r"\x1b\[[0-9;]*m", "", shown.stdout)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the service did not start: {log.read_text()[-2000:]}")


@dataclass(frozen=True, slots=True)
class Sample:
    """What was used up to an instant (seconds since 1970)."""

    at: float
    service_cpu: float
    service_mib: float
    database_cpu: float
    wal_bytes: int


@dataclass(slots=True)
class Meter:
    """Samples, twice a second."""

    samples: list[Sample] = field(default_factory=list)

    def between(self, start: float, end: float) -> dict[str, float]:
        """What was used between two instants (seconds since 1970), which lie between the first sample and the last."""
        first, last = self._at(start), self._at(end)
        return {
            "seconds": round(last.at - first.at, 2),
            "service_cpu_seconds": round(last.service_cpu - first.service_cpu, 2),
            "database_cpu_seconds": round(last.database_cpu - first.database_cpu, 2),
            "wal_mib": round((last.wal_bytes - first.wal_bytes) / 2**20, 1),
            "service_mib_at_most": round(
                max(s.service_mib for s in self.samples if first.at <= s.at <= last.at), 1
            ),
        }

    def memory(self, start: float, end: float) -> list[float]:
        """Resident memory of the service, in MiB, sample by sample between two instants."""
        return [sample.service_mib for sample in self.samples if start <= sample.at < end]

    def _at(self, instant: float) -> Sample:
        place = bisect_left(self.samples, instant, key=lambda sample: sample.at)
        return self.samples[min(place, len(self.samples) - 1)]


@asynccontextmanager
async def metered(database_url: str, running: Service | None) -> AsyncIterator[Meter]:
    """Sample while the block runs. The server must be on this machine."""
    connection = await asyncpg.connect(database_url)
    try:
        postmaster = _postmaster(await connection.fetchval("SELECT pg_backend_pid()"))
        meter = Meter()
        task = asyncio.create_task(_sample(meter, connection, postmaster, running))
        try:
            yield meter
            await asyncio.sleep(_SAMPLE_SECONDS)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    finally:
        await connection.close()


def _postmaster(backend: int) -> int:
    """A process of that number that is not the server's would give figures all the same."""
    comm = Path(f"/proc/{backend}/comm")
    if not comm.exists() or "postgres" not in comm.read_text():
        raise RuntimeError("processor time is read from /proc: run this on the server's own machine")
    return parent(backend)


async def _sample(
    meter: Meter, connection: asyncpg.Connection[asyncpg.Record], postmaster: int, running: Service | None
) -> None:
    while True:
        wal = await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
        served = None if running is None else usage(running.process)
        meter.samples.append(
            Sample(
                time.time(),
                0.0 if served is None else served.cpu_seconds,
                0.0 if served is None else served.resident_mib,
                usage(postmaster).cpu_seconds,
                wal,
            )
        )
        await asyncio.sleep(_SAMPLE_SECONDS)


async def load(running: Service, report: Path, *options: str) -> dict[str, Any]:
    """Run `occupancy load` on a service with these options; its report."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "occupancy",
        "load",
        running.url,
        *options,
        "--json",
        str(report),
        env=os.environ | {"OCCUPANCY_API_KEY": KEY},
    )
    status = await process.wait()
    # 1: something was wrong, and the report says what
    if status not in {0, 1}:
        raise RuntimeError(f"occupancy load ended with status {status}")
    return _read(report)


def _read(report: Path) -> dict[str, Any]:
    if not report.exists():
        raise RuntimeError("occupancy load ended without a report; it said why")
    document: dict[str, Any] = json.loads(report.read_text())
    return document
