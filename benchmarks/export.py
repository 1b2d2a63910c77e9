"""The memory of `occupancy export` for many events against few, and rows per second, in each format."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.databases import machine_facts, own_database

FEW, MANY = 20_000, 1_000_000
FORMATS = ("csv", "ndjson", "parquet")
FIRST = datetime(2026, 1, 5, tzinfo=UTC)
APART = timedelta(seconds=2)

TOPOLOGY = """
INSERT INTO occupancy.space (organization, space_id, name) VALUES (1, 'hall', 'Hall');
INSERT INTO occupancy.doorway (organization, doorway_id, name, side_a) VALUES (1, 'door', 'Door', 1);
INSERT INTO occupancy.dpu (organization, dpu_id, name) VALUES (1, 'dpu-1', 'DPU 1'), (1, 'dpu-2', 'DPU 2');
INSERT INTO occupancy.placement (organization, dpu, doorway, facing) VALUES (1, 1, 1, 'a'), (1, 2, 1, 'a');
"""
LOAD = """
INSERT INTO occupancy.crossing (time, dpu, direction)
SELECT $1::timestamptz + i * $2::interval, i % 2 + 1, CASE WHEN i / 2 % 2 = 0 THEN 1 ELSE -1 END
FROM generate_series(0, $3::integer - 1) AS i
"""
# The peak of the child's own memory, in KiB, as the last line of its error output.
CHILD = """
import resource, sys
from occupancy import cli
try:
    cli.main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


@dataclass(frozen=True)
class Export:
    """One run of the command: rows written, peak memory of the process in MiB, seconds, size of the file in MiB."""

    format: str
    rows: int
    peak_mib: float
    seconds: float
    file_mib: float


async def run(server_url: str, results: Path) -> None:
    """Load the events, export few and many in each format, write the result."""
    async with own_database(server_url, "bench_export") as url:
        connection = await asyncpg.connect(url)
        await connection.execute(TOPOLOGY)
        await connection.execute(LOAD, FIRST, APART, MANY, timeout=600)
        await connection.close()
        exports = [_export(url, name, rows) for name in FORMATS for rows in (FEW, MANY)]
    report = {
        "machine": await machine_facts(server_url),
        "exports": [asdict(export) for export in exports],
        "growth_mib": {name: _growth(exports, name) for name in FORMATS},
    }
    _write(report, results)


def _write(report: dict[str, Any], results: Path) -> None:
    results.mkdir(parents=True, exist_ok=True)
    (results / "export.json").write_text(json.dumps(report, indent=2) + "\n")


def _export(url: str, name: str, rows: int) -> Export:
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / f"events.{name}"
        end = FIRST + rows * APART
        command = ["export", "events", "--space", "hall", "--format", name, "--output", str(target)]
        started = time.perf_counter()
        ended = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-c", CHILD, *command, "--start", FIRST.isoformat(), "--end", end.isoformat()],
            env={**os.environ, "OCCUPANCY_DATABASE_URL": url},
            capture_output=True,
            text=True,
            check=True,
        )
        seconds = time.perf_counter() - started
        *_, written, peak = ended.stderr.splitlines()
        assert written == f"{rows} rows", ended.stderr
        size = target.stat().st_size
    export = Export(name, rows, round(int(peak) / 1024, 1), round(seconds, 2), round(size / 2**20, 1))
    print(export)
    return export


def _growth(exports: list[Export], name: str) -> float:
    few, many = (export.peak_mib for export in exports if export.format == name)
    return round(many - few, 1)


def main(server_url: str, results: Path) -> None:
    asyncio.run(run(server_url, results))
