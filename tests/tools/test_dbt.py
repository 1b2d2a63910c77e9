"""dbt on schema bi: sources with tests, and a model in the analyst's own schema."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml
from sqlalchemy.engine import URL

from tests.tools.conftest import BIN, in_a_thread

pytestmark = pytest.mark.native


def _column(name: str, *tests: Any) -> dict[str, Any]:
    return {"name": name, "data_tests": list(tests)}


def _related(to: str, field: str) -> dict[str, Any]:
    return {"relationships": {"arguments": {"to": f"source('bi', '{to}')", "field": field}}}


SOURCES = {
    "version": 2,
    "sources": [
        {
            "name": "bi",
            "tables": [
                {
                    "name": "spaces",
                    "columns": [
                        _column("space_id", "not_null", "unique"),
                        _column("parent_id", _related("spaces", "space_id")),
                    ],
                },
                {"name": "doorways", "columns": [_column("doorway_id", "not_null", "unique")]},
                {"name": "dpus", "columns": [_column("dpu_id", "not_null", "unique")]},
                {
                    "name": "placements",
                    "columns": [
                        _column("dpu_id", "not_null", _related("dpus", "dpu_id")),
                        _column("doorway_id", "not_null", _related("doorways", "doorway_id")),
                    ],
                },
                {
                    "name": "current_counts",
                    "columns": [_column("space_id", "unique", _related("spaces", "space_id"))],
                },
            ],
        }
    ],
    "models": [
        {
            "name": "busy_hours",
            "columns": [_column("bucket_start", "not_null", "unique"), _column("mean", "not_null")],
        }
    ],
}
MODEL = """
SELECT course.bucket_start, course.mean, course.entries
FROM bi.series('building', '2026-03-01 23:00Z', '2026-03-02 23:00Z', '1 hour') AS course
WHERE EXISTS (SELECT 1 FROM {{ source('bi', 'spaces') }} WHERE space_id = 'building')
  AND course.mean > 100
"""


def _project(folder: Path, analyst: URL) -> None:
    (folder / "models").mkdir()
    (folder / "models" / "sources.yml").write_text(yaml.safe_dump(SOURCES))
    (folder / "models" / "busy_hours.sql").write_text(MODEL)
    project = {
        "name": "analysis",
        "version": "1.0.0",
        "profile": "occupancy",
        "models": {"+materialized": "table"},
    }
    (folder / "dbt_project.yml").write_text(yaml.safe_dump(project))
    output = {
        "type": "postgres", "host": analyst.host, "port": analyst.port, "user": analyst.username, "password": "",
        "dbname": analyst.database, "schema": analyst.username, "threads": 1,
    }  # fmt: skip
    (folder / "profiles.yml").write_text(
        yaml.safe_dump({"occupancy": {"target": "own", "outputs": {"own": output}}})
    )


async def test_dbt(analyst: URL, native_url: str, tmp_path: Path) -> None:
    dbt = BIN / "dbt"
    if not dbt.exists():
        pytest.skip("dbt is not installed: make tools")
    owner = await asyncpg.connect(native_url)
    await owner.execute(f"ALTER ROLE {analyst.username} SET default_transaction_read_only = off")
    _project(tmp_path, analyst)

    def build() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [dbt, "--no-use-colors", "build", "--project-dir", tmp_path, "--profiles-dir", tmp_path],
            capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path,
            env={**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
        )  # fmt: skip

    done = await in_a_thread(build)
    assert done.returncode == 0, done.stdout
    results = json.loads((tmp_path / "target" / "run_results.json").read_text())["results"]
    outcomes = [result["status"] for result in results]
    assert outcomes.count("success") == 1
    assert outcomes.count("pass") == 16
    assert set(outcomes) == {"success", "pass"}
    hours = await owner.fetch(f"SELECT * FROM {analyst.username}.busy_hours")
    # of the hours that docs/bi.md prints, those with a mean above 100
    assert len(hours) == 7
    await owner.close()
