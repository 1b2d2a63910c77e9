"""What analysts read schema bi with: psql, DuckDB, pandas."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.engine import URL

from tests.tools.conftest import in_a_thread

pytestmark = pytest.mark.native
# From docs/bi.md: how many people were on each floor.
FLOORS = {"floor-0": 40, "floor-1": 38, "floor-2": 32}


async def test_psql(analyst: URL) -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("psql is not installed")

    def asked(*commands: str) -> str:
        arguments = [part for command in commands for part in ("-c", command)]
        done = subprocess.run(
            [psql, "--no-psqlrc", "-At", analyst.render_as_string(False), *arguments],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return done.stdout

    views = await in_a_thread(asked, "\\dv")
    assert "bi|current_counts|view" in views
    described = await in_a_thread(asked, "\\d+ occupancy_1h")
    assert (
        "What clocks in the time zone of the space show at bucket_start." in described
        or "local_start" in described
    )
    counted = await in_a_thread(
        asked,
        "SELECT space_id, count FROM counts_at('2026-03-02 15:34Z') WHERE space_id LIKE 'floor-_' ORDER BY 1",
    )
    assert counted.splitlines() == [f"{space}|{count}" for space, count in FLOORS.items()]
    copied = await in_a_thread(
        asked,
        "\\copy (SELECT * FROM occupancy_1d WHERE space_id = 'building' AND entries > 0) TO STDOUT CSV HEADER",
    )
    assert copied.startswith("space_id,bucket_start,")
    assert len(copied.splitlines()) == 2


DUCKDB = """
import json, sys
from pathlib import Path
import duckdb, duckdb_extension_postgres_scanner as wheel
extension = next(Path(wheel.__file__).parent.glob("extensions/*/postgres_scanner.duckdb_extension"))
connection = duckdb.connect()
connection.load_extension(str(extension))
connection.execute(f"ATTACH '{sys.argv[1]}' AS o (TYPE postgres, READ_ONLY, SCHEMA 'bi')")
joined = connection.execute('''
    SELECT s.path, h.entries, h."max"
    FROM o.bi.occupancy_1h AS h JOIN o.bi.spaces AS s ON s.space_id = h.space_id
    WHERE h.space_id = 'building' AND h.bucket_start >= TIMESTAMPTZ '2026-03-02 09:00:00+00'
      AND h.bucket_start < TIMESTAMPTZ '2026-03-02 11:00:00+00'
    ORDER BY h.bucket_start
''').fetchall()
called = connection.execute(
    '''SELECT * FROM postgres_query('o', 'SELECT space_id, count FROM bi.counts_at(''2026-03-02 15:34Z'')')'''
).fetchall()
print(json.dumps([joined, called]))
"""


async def test_duckdb(analyst: URL, tool_python: Callable[..., Any]) -> None:
    address = f"host={analyst.host} port={analyst.port} dbname={analyst.database} user={analyst.username}"
    joined, called = await in_a_thread(tool_python, DUCKDB, address)
    # 10:00 and 11:00 in Berlin, as docs/bi.md prints them
    assert joined == [["Building", 4, 120], ["Building", 5, 120]]
    assert {space: count for space, count in called if space in FLOORS} == FLOORS


PANDAS = """
import json, sys
import pandas, sqlalchemy
engine = sqlalchemy.create_engine(sys.argv[1])
frame = pandas.read_sql(
    sqlalchemy.text(
        "SELECT bucket_start, mean, entries FROM bi.series(:space, '2026-03-01 23:00Z', '2026-03-02 23:00Z', '1 hour')"
    ),
    engine, params={"space": "building"}, index_col="bucket_start", parse_dates=["bucket_start"],
)
views = sqlalchemy.inspect(engine).get_view_names("bi")
health = pandas.read_sql_table("dpu_health", engine, schema="bi")
print(json.dumps([len(frame), int(frame["entries"].sum()), str(frame["mean"].idxmax()), sorted(views), len(health)]))
"""


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
async def test_pandas(analyst: URL, tool_python: Callable[..., Any], driver: str) -> None:
    address = analyst.set(drivername=f"postgresql+{driver}").render_as_string(False)
    hours, entries, fullest, views, sensors = await in_a_thread(tool_python, PANDAS, address)
    # entries: what docs/bi.md prints by door
    assert (hours, entries) == (24, 108 + 90 + 36)
    assert fullest.startswith("2026-03-02 13:00:00")
    assert "occupancy_1mo" in views
    assert sensors == 28
