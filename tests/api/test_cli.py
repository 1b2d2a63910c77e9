"""The commands, from a layout file to a checked count."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
import yaml
from typer.testing import CliRunner

from occupancy import cli
from occupancy.errors import InvalidInput
from tests.conftest import empty

LAYOUT = """
spaces:
  - {space_id: A}
  - {space_id: B}
doorways:
  - {doorway_id: X, side_a: A, side_b: null}
  - {doorway_id: Z, side_a: A, side_b: B}
dpus:
  - {dpu_id: 283, placements: [{doorway_id: X, facing: a, from: null}]}
"""
EVENTS = """timestamp,direction,dpu_id
2026-03-02T11:00:00Z,1,283
2026-03-02T11:01:00Z,1,283
2026-03-02T11:01:00Z,1,283
2026-03-02T11:02:00Z,2,283
2026-03-02T11:03:00Z,-1,423
not a time,1,283
"""


@pytest.fixture
def run(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    async def clean() -> None:
        connection = await asyncpg.connect(migrated_url)
        try:
            await empty(connection)
        finally:
            await connection.close()

    asyncio.run(clean())
    monkeypatch.setenv("OCCUPANCY_DATABASE_URL", migrated_url)
    return CliRunner()


def _net(url: str, space_id: str) -> int:
    async def ask() -> int:
        connection = await asyncpg.connect(url)
        try:
            net: int = await connection.fetchval(
                "SELECT (occupancy.count_at(id, $2)).net FROM occupancy.space WHERE space_id = $1",
                space_id,
                datetime(2026, 3, 2, 12, tzinfo=UTC),
            )
            return net
        finally:
            await connection.close()

    return asyncio.run(ask())


def _ok(run: CliRunner, *arguments: str) -> str:
    result = run.invoke(cli.app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_who_asks_for_help_does_not_wait_for_the_service() -> None:
    program = "import sys; from occupancy import cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {
        "alembic",
        "confluent_kafka",
        "fastapi",
        "httpx",
        "paho",
        "pydantic_settings",
        "sqlalchemy",
        "uvicorn",
    }
    assert heavy & set(loaded.stdout.split()) == set()


def test_from_a_layout_file_to_a_checked_count(run: CliRunner, migrated_url: str, tmp_path: Path) -> None:
    layout, events = tmp_path / "layout.yaml", tmp_path / "events.csv"
    layout.write_text(LAYOUT)
    events.write_text(EVENTS)

    assert "would be made" in _ok(run, "apply", "--dry-run", str(layout))
    assert "6 changes made" in _ok(run, "apply", str(layout))
    assert "nothing to change" in _ok(run, "apply", str(layout))

    first = _ok(run, "import", str(events))
    assert "accepted 2, duplicates 1, rejected 3" in first
    for code in (
        "invalid_direction: 1",
        "unknown_dpu: 1",
        "invalid_timestamp: 1",
        "line 5: invalid_direction",
    ):
        assert code in first
    assert "accepted 0, duplicates 3, rejected 3" in _ok(run, "import", str(events))
    assert _net(migrated_url, "A") == 2

    document = yaml.safe_load(LAYOUT)
    document["dpus"].append(
        {"dpu_id": "423", "placements": [{"doorway_id": "Z", "facing": "a", "from": None}]}
    )
    document["dpus"][0]["dpu_id"] = "283"
    layout.write_text(yaml.safe_dump(document))
    assert "2 changes made" in _ok(run, "apply", str(layout))
    assert "accepted 1, duplicates 0, still rejected 2" in _ok(run, "replay-rejected")
    assert (_net(migrated_url, "A"), _net(migrated_url, "B")) == (1, 1)

    assert "refreshed" in _ok(run, "refresh")
    assert "marked 2 spaces" in _ok(
        run, "refresh", "--rebuild", "2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z"
    )
    assert "agree" in _ok(run, "check")
    assert (_net(migrated_url, "A"), _net(migrated_url, "B")) == (1, 1)

    exported = tmp_path / "exported.yaml"
    _ok(run, "export-layout", str(exported))
    assert "nothing to change" in _ok(run, "apply", str(exported))
    assert run.invoke(cli.app, ["export-layout", str(exported)]).exit_code != 0, "written over without a word"
    _ok(run, "export-layout", "--force", str(exported))


def test_check_says_what_differs_and_fails(run: CliRunner, migrated_url: str, tmp_path: Path) -> None:
    layout, events = tmp_path / "layout.yaml", tmp_path / "events.csv"
    layout.write_text(LAYOUT)
    events.write_text(EVENTS)
    for command in (["apply", str(layout)], ["import", str(events)], ["refresh"]):
        _ok(run, *command)

    async def spoil() -> None:
        connection = await asyncpg.connect(migrated_url)
        try:
            table = await connection.fetchval("SELECT occupancy.flow_table('15m')::text")
            await connection.execute(f"UPDATE {table} SET entries = entries + 1")
        finally:
            await connection.close()

    asyncio.run(spoil())
    result = run.invoke(cli.app, ["check"])
    assert result.exit_code == 1
    assert "15m" in result.output
    assert "--rebuild" in result.output


def test_the_status_of_dpus(run: CliRunner, migrated_url: str, tmp_path: Path) -> None:
    (tmp_path / "layout.yaml").write_text("dpus: [{dpu_id: 'a[b]'}, {dpu_id: '423'}]")
    _ok(run, "apply", str(tmp_path / "layout.yaml"))
    now = datetime.now(UTC)
    rows = [(now - timedelta(minutes=30), 1, 1), (now - timedelta(minutes=20), -1, 5), (now, 1, 7)]
    lines = [f"{time.isoformat()},{direction},a[b],{seq}" for time, direction, seq in rows]
    (tmp_path / "events.csv").write_text("timestamp,direction,dpu_id,seq\n" + "\n".join(lines))
    assert "accepted 3" in _ok(run, "import", str(tmp_path / "events.csv"))
    (tmp_path / "events.csv").write_text("timestamp,direction,dpu_id\nsoon,1,423\n")
    _ok(run, "import", str(tmp_path / "events.csv"))

    fleet = _ok(run, "dpu-status")
    assert "2 DPUs" in fleet
    assert "a[b]" in fleet
    assert now.isoformat(timespec="seconds").replace("+00:00", "Z") in fleet
    silent = _ok(run, "dpu-status", "--silent-for", "10m")
    assert "1 DPUs" in silent
    assert "423" in silent
    one = " ".join(_ok(run, "dpu-status", "a[b]").split())
    assert "seq 1 to 7, 3 stored" in one
    assert "missing 4 in 2 gaps and 0 restarts" in one
    assert "1 missing, from seq 5 at" in one
    assert "pending unknown" in one
    other = " ".join(_ok(run, "dpu-status", "423").split())
    assert "seq the DPU sends none" in other
    assert "invalid_timestamp: 1" in other
    assert run.invoke(cli.app, ["dpu-status", "424"]).exit_code == 1
    assert run.invoke(cli.app, ["dpu-status", "--silent-for", "soon"]).exit_code == 1


def test_a_simulation_can_be_applied_and_imported(run: CliRunner, migrated_url: str, tmp_path: Path) -> None:
    _ok(run, "simulate", str(tmp_path), "--people", "10", "--floors", "1", "--rooms", "2", "--reversed-dpu")
    _ok(run, "apply", str(tmp_path / "layout.yaml"))
    _ok(run, "import", str(tmp_path / "events.csv"))
    assert "1 changes made" in _ok(run, "apply", str(tmp_path / "corrected-layout.yaml"))
    truth = [line.split(",") for line in (tmp_path / "truth.csv").read_text().splitlines()[1:]]

    async def differing() -> int:
        connection = await asyncpg.connect(migrated_url)
        try:
            wrong = 0
            for timestamp, space_id, count in truth[:: max(1, len(truth) // 60)]:
                net = await connection.fetchval(
                    "SELECT (occupancy.count_at(id, $2)).net FROM occupancy.space WHERE space_id = $1",
                    space_id,
                    datetime.fromisoformat(timestamp),
                )
                wrong += net != int(count)
            return wrong
        finally:
            await connection.close()

    assert len(truth) > 60
    assert asyncio.run(differing()) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["apply", "{file}"], ["doorways[0].side_a", "nowhere"]),
        (["import", "{file}"], ["timestamp is missing"]),
        (
            ["refresh", "--rebuild", "2026-03-02T00:00:00Z", "2026-03-01T00:00:00Z"],
            ["FROM must be before TO"],
        ),
    ],
)
def test_an_error_names_the_field_and_the_value(
    run: CliRunner,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    words: list[str],
) -> None:
    file = tmp_path / "file"
    file.write_text("doorways: [{doorway_id: X, side_a: nowhere, side_b: null}]\n")
    command = [argument.replace("{file}", str(file)) for argument in arguments]
    monkeypatch.setattr("sys.argv", ["occupancy", *command])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    shown = " ".join(capsys.readouterr().err.split())
    for word in words:
        assert word in shown


def test_a_taken_port_is_named(
    run: CliRunner, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("OCCUPANCY_PORT", str(taken.getsockname()[1]))
        monkeypatch.setattr("sys.argv", ["occupancy", "serve"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert ended.value.code == 1
    assert "OCCUPANCY_PORT" in capsys.readouterr().err


def test_a_wrong_setting_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCCUPANCY_REFRESH_LAG", "soon")
    monkeypatch.setattr("sys.argv", ["occupancy", "db", "status"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert "OCCUPANCY_REFRESH_LAG" in capsys.readouterr().err


def test_without_a_database_it_is_said_how_to_get_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OCCUPANCY_DATABASE_URL", raising=False)
    monkeypatch.setenv("OCCUPANCY_EMBEDDED_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["occupancy", "refresh"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert "occupancy db start" in " ".join(capsys.readouterr().err.split())


def test_old_data_is_shown_compressed_and_given_up(run: CliRunner, migrated_url: str, tmp_path: Path) -> None:
    (tmp_path / "layout.yaml").write_text(LAYOUT)
    (tmp_path / "events.csv").write_text(EVENTS)
    _ok(run, "apply", str(tmp_path / "layout.yaml"))
    _ok(run, "import", str(tmp_path / "events.csv"))
    _ok(run, "refresh")
    shown = _ok(run, "storage", "show")
    assert "2026-02-26" in shown
    assert "compress" in shown
    assert "single crossings dropped: nothing" in shown
    assert "compressed _timescaledb_internal." in _ok(run, "storage", "run")
    assert "columns" in _ok(run, "storage", "show")

    given = _ok(run, "storage", "set", "--keep-crossings", "P30D", "--compress-aggregates-after", "never")
    assert "keep_crossings: 30 days" in given
    assert "compress_aggregates_after: -" in given
    assert "move_dropped_before: 2026-03-05" in _ok(run, "storage", "run")
    assert "drop_crossings: 1" in _ok(run, "storage", "run")
    shown = _ok(run, "storage", "show")
    assert "single crossings dropped: all before 2026-03-05T00:00:00+00:00" in shown
    assert "2026-02-26" not in shown
    # 12:00 is a quarter of an hour
    assert _net(migrated_url, "A") == 2


def test_ages_of_old_data_that_nobody_can_mean_are_refused(run: CliRunner) -> None:
    for arguments, complaint in (
        (["--keep-crossings", "400"], "neither an ISO 8601 duration"),
        (["--keep-crossings", "P1D"], "two days"),
        (["--compress-crossings-after", "-P1D"], "not negative"),
        ([], "at least one"),
    ):
        result = run.invoke(cli.app, ["storage", "set", *arguments])
        assert isinstance(result.exception, InvalidInput), arguments
        assert complaint in str(result.exception)
