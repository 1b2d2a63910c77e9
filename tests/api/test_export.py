"""Files: CSV, NDJSON and Parquet by HTTP and by `occupancy export`."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pyarrow as pa
import pytest
import uvicorn
from pyarrow import parquet
from typer.testing import CliRunner

from occupancy import cli
from occupancy.app import create_app
from occupancy.database import Database
from occupancy.errors import DatabaseUnavailable, InvalidInput
from occupancy.export import pages
from occupancy.export.file import format_of
from occupancy.history.series import SeriesQuestion
from occupancy.history.spaces import Scope
from occupancy.settings import Settings
from tests.api import house
from tests.api.house import SPRING, all_items, refuse
from tests.conftest import KEY

NIGHT = {"start": f"{SPRING}T00:00:00Z", "end": f"{SPRING}T06:00:00Z"}
LISTS = {
    "/v1/spaces/A/series": {**NIGHT, "tz": "Europe/Berlin"},
    "/v1/series": NIGHT,
    "/v1/spaces/A/events": NIGHT,
    "/v1/dpus/283/events": {**NIGHT, "order": "desc", "tz": "Europe/London"},
}


@pytest.fixture(autouse=True)
async def _house(client: httpx.AsyncClient) -> None:
    await house.build(client)
    await house.live_through_two_days(client)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "ROWS_PER_PAGE", 2)


def rows_of_csv(content: bytes) -> list[dict[str, Any]]:
    """Rows with the types that JSON has."""
    numbers = {"timestamp", "start", "end", "received_at", "space_id", "dpu_id", "doorway_id"}
    return [
        {name: cell if name in numbers else json.loads(cell or "null") for name, cell in row.items()}
        for row in csv.DictReader(io.StringIO(content.decode()))
    ]


def rows_of_ndjson(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.decode().splitlines()]


def in_utc(row: dict[str, Any]) -> dict[str, Any]:
    """The row with instants, by whatever zone they were told, as they are in Parquet."""
    names = {"timestamp", "start", "end", "received_at"}
    return {name: datetime.fromisoformat(cell) if name in names else cell for name, cell in row.items()}


def without_space(row: dict[str, Any]) -> dict[str, Any]:
    return {name: cell for name, cell in row.items() if name != "space_id"}


async def test_files_hold_the_rows_of_all_pages(client: httpx.AsyncClient, small_pages: None) -> None:
    for path, params in LISTS.items():
        items, _ = await all_items(client, path, **params, limit=3)
        assert len(items) > 2

        async def file(name: str, path: str = path, params: dict[str, str] = params) -> bytes:
            # a limit does not count
            answer = await client.get(path, params={**params, "format": name, "limit": "1"})
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-disposition"].endswith(f'.{name}"')
            return answer.content

        lines = rows_of_csv(await file("csv"))
        assert [without_space(row) for row in lines] == [without_space(item) for item in items], path
        assert rows_of_ndjson(await file("ndjson")) == lines, path
        table = parquet.read_table(pa.BufferReader(await file("parquet")))
        assert table.to_pylist() == [in_utc(row) for row in lines], path
        if "spaces/A" in path:
            assert {row["space_id"] for row in lines} == {"A"}


async def test_parquet_is_typed_and_has_a_row_group_for_each_page(
    client: httpx.AsyncClient, small_pages: None
) -> None:
    answer = await client.get("/v1/spaces/B/series", params={**NIGHT, "format": "parquet"})
    file = parquet.ParquetFile(pa.BufferReader(answer.content))
    assert {field.name: str(field.type) for field in file.schema_arrow} == {
        "space_id": "string", "start": "timestamp[us, tz=UTC]", "end": "timestamp[us, tz=UTC]", "seconds": "double",
        "first": "int64", "last": "int64", "min": "int64", "max": "int64", "mean": "double", "net_min": "int64",
        "entries": "int64", "exits": "int64", "utilization": "double", "peak_utilization": "double",
    }  # fmt: skip
    assert file.metadata.num_row_groups == 3


async def test_a_file_of_nothing_is_a_file(client: httpx.AsyncClient) -> None:
    params = {"start": "2026-03-02T00:00:00Z", "end": "2026-03-02T01:00:00Z"}
    files = {
        name: (await client.get("/v1/spaces/A/events", params={**params, "format": name})).content
        for name in ("csv", "ndjson", "parquet")
    }
    assert files["csv"] == b"space_id,timestamp,dpu_id,doorway_id,direction,effect,seq,received_at\n"
    assert files["ndjson"] == b""
    assert parquet.read_table(pa.BufferReader(files["parquet"])).num_rows == 0


@pytest.mark.parametrize(
    ("accept", "file_format", "media_type"),
    [
        ("text/csv", None, "text/csv; charset=utf-8"),
        ("application/x-ndjson", None, "application/x-ndjson"),
        ("application/vnd.apache.parquet", None, "application/vnd.apache.parquet"),
        ("application/json, text/csv;q=0.9", None, "application/json"),
        ("application/json;q=0.5, text/csv;q=0.9", None, "text/csv; charset=utf-8"),
        ("text/csv;q=0", None, "application/json"),
        ("application/pdf", None, "application/json"),
        ("text/csv", "json", "application/json"),
        ("*/*", "csv", "text/csv; charset=utf-8"),
    ],
)
async def test_who_asks_says_which_format(
    client: httpx.AsyncClient, accept: str, file_format: str | None, media_type: str
) -> None:
    params = NIGHT if file_format is None else {**NIGHT, "format": file_format}
    answer = await client.get("/v1/spaces/A/series", params=params, headers={"Accept": accept})
    assert answer.headers["content-type"] == media_type


async def test_what_is_wrong_is_told_before_a_file_begins(client: httpx.AsyncClient) -> None:
    for path, params, status, field in (
        ("/v1/spaces/nowhere/series", {}, 404, "space_id"),
        ("/v1/spaces/A/series", {"interval": "7m"}, 422, "interval"),
        ("/v1/spaces/A/events", {"cursor": "!"}, 422, "cursor"),
    ):
        await refuse(client, path, {**NIGHT, "format": "csv", **params}, status, field)


def test_who_exports_no_parquet_does_not_wait_for_pyarrow() -> None:
    loaded = "import occupancy.app, occupancy.export.file, sys; print('pyarrow' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


@asynccontextmanager
async def served(database_url: str, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of the service on a real server, as only there a connection can break."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(create_app(settings, database_url), log_level="critical")
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve([listening]))
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=30) as caller:
            yield caller
        server.should_exit = True
        await running


@pytest.mark.parametrize("path", ["/v1/spaces/A/series", "/v1/spaces/A/events"])
async def test_a_file_that_was_cut_off_does_not_look_complete(
    database_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, small_pages: None, path: str
) -> None:
    async with served(database_url, settings) as caller:
        for name in ("csv", "ndjson", "parquet"):
            whole = await caller.get(path, params={**NIGHT, "format": name})
            assert whole.status_code == 200
            for module, function in (("series", "SeriesPage"), ("events", "_event")):
                with monkeypatch.context() as patched:
                    _break_at_the_third_call(patched, f"occupancy.history.{module}.{function}")
                    if module in path:
                        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
                            await caller.get(path, params={**NIGHT, "format": name})


def _break_at_the_third_call(patched: pytest.MonkeyPatch, name: str) -> None:
    module, _, function = name.rpartition(".")
    original = getattr(__import__(module, fromlist=[function]), function)
    calls = 0

    def breaking(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= 3:
            raise DatabaseUnavailable("the database cannot be reached")
        return original(*arguments, **named)

    patched.setattr(name, breaking)


@pytest.mark.native
async def test_between_two_pages_nothing_is_held(
    native_url: str, settings: Settings, small_pages: None
) -> None:
    async with served(native_url, settings) as caller:
        await house.build(caller)
        await house.live_through_two_days(caller)
        watching = await asyncpg.connect(native_url)
        question = SeriesQuestion(
            datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 29, 6, tzinfo=UTC), "1h"
        )
        database = await Database.connect(native_url, 1)
        try:
            seen = 0
            async for rows in pages.series_rows(database, Scope(1, ["A"]), question):
                seen += len(rows)
                states = await watching.fetch(
                    "SELECT state FROM pg_stat_activity WHERE datname = current_database() "
                    "AND pid <> pg_backend_pid() AND state <> 'idle' AND application_name = 'occupancy'"
                )
                assert states == []
            assert seen == 6
        finally:
            await database.close()
            await watching.close()


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("OCCUPANCY_DATABASE_URL", database_url)
    return CliRunner()


async def exported(run: CliRunner, *arguments: str) -> tuple[int, bytes]:
    """Exit status and output of `occupancy export`, which has an event loop of its own."""
    result = await asyncio.to_thread(run.invoke, cli.app, ["export", *arguments])
    return result.exit_code, result.stdout_bytes


def names_in(directory: Path) -> set[str]:
    return {file.name for file in directory.iterdir()}


RANGE = ("--start", NIGHT["start"], "--end", NIGHT["end"])


@pytest.mark.parametrize("name", ["csv", "ndjson", "parquet"])
async def test_the_command_writes_what_the_service_sends(
    client: httpx.AsyncClient, run: CliRunner, tmp_path: Path, name: str
) -> None:
    for kind in ("series", "events"):
        sent = [
            (await client.get(f"/v1/spaces/{space}/{kind}", params={**NIGHT, "format": name})).content
            for space in ("B", "A")
        ]
        target = tmp_path / f"{kind}.{name}"
        spaces = ("--space", "B", "--space", "A")
        status, _ = await exported(run, kind, *spaces, *RANGE, "--format", name, "--output", str(target))
        assert status == 0
        if name == "parquet":
            rows = [row for file in sent for row in parquet.read_table(pa.BufferReader(file)).to_pylist()]
            assert parquet.read_table(target).to_pylist() == rows
        else:
            header = sent[0].splitlines()[:1] if name == "csv" else []
            rows = header + [line for file in sent for line in file.splitlines()[len(header) :]]
            assert target.read_bytes().splitlines() == rows
            status, printed = await exported(run, kind, *spaces, *RANGE, "--format", name)
            assert (status, printed) == (0, target.read_bytes())
    assert names_in(tmp_path) == {f"series.{name}", f"events.{name}"}


async def test_a_file_is_there_only_when_it_is_complete(
    run: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_pages: None
) -> None:
    target = tmp_path / "series.csv"
    command = ("series", "--space", "A", *RANGE, "--output", str(target))
    with monkeypatch.context() as patched:
        _break_at_the_third_call(patched, "occupancy.history.series.SeriesPage")
        status, _ = await exported(run, *command)
    assert status != 0
    assert names_in(tmp_path) == set()

    assert (await exported(run, *command))[0] == 0
    complete = target.read_bytes()
    assert (await exported(run, *command))[0] != 0
    assert (await exported(run, *command, "--force", "--interval", "2h"))[0] == 0
    assert target.read_bytes() != complete
    assert names_in(tmp_path) == {"series.csv"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["series", "--space", "nowhere", *RANGE], ["nowhere"]),
        (["series", "--space", "A", *RANGE, "--interval", "7m"], ["interval"]),
        (["series", "--space", "A", "--start", "soon"], ["start"]),
        (["series", "--space", "A", *RANGE, "--tz", "Mars"], ["tz", "Mars"]),
        (["series", "--space", "A", *RANGE, "--hours", "always"], ["hours", "always"]),
        (["events", "--space", "A", *RANGE, "--format", "parquet"], ["--output"]),
        (["events", "--space", "A", *RANGE, "--output", "/nowhere/events.csv"], ["/nowhere/events.csv"]),
    ],
)
async def test_an_error_names_the_field_and_the_value(
    run: CliRunner,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: list[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["occupancy", "export", *arguments])
    with pytest.raises(SystemExit) as ended:
        await asyncio.to_thread(cli.main)
    assert ended.value.code == 1
    shown = " ".join(capsys.readouterr().err.split())
    for word in words:
        assert word in shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [(None, "csv"), ("day", "csv"), ("day.NDJSON", "ndjson"), ("day.parquet", "parquet")],
)
def test_the_name_of_a_file_says_its_format(name: str | None, expected: str) -> None:
    assert format_of(None if name is None else Path(name)) == expected


def test_an_ending_that_stands_for_no_format_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'xlsx' is no format"):
        format_of(Path("day.xlsx"))
