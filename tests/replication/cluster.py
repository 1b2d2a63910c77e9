"""A primary and its streaming replica, made for one test and removed after it, with the binaries of the test server.

The binaries are those of the server that OCCUPANCY_TEST_DATABASE_URL names, if it runs on this machine, or those in
the folder OCCUPANCY_TEST_POSTGRES_BIN. PostgreSQL does not run as root: a test that does starts it as
OCCUPANCY_TEST_POSTGRES_USER, or as the owner of the test server's data.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from occupancy import schema

SERVER_URL = os.environ.get("OCCUPANCY_TEST_DATABASE_URL", "")
_NEEDED = ("initdb", "pg_basebackup", "pg_ctl", "postgres")
_PATIENCE = 60
# Small and quick: what a machine that loses its power would lose is none of these tests' business.
_CONFIGURATION = """
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
timescaledb.max_background_workers = 4
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_buffers = '64MB'
max_connections = 60
fsync = off
wal_level = replica
max_wal_senders = 4
wal_keep_size = '256MB'
hot_standby = on
max_standby_streaming_delay = '{delay}'
"""


@dataclass(frozen=True)
class Binaries:
    """Where PostgreSQL's programs are, what they are called with, and who runs them (None: whoever tests)."""

    folder: Path
    environment: dict[str, str]
    user: str | None

    def run(self, program: str, *arguments: str) -> None:
        """Run a program to its end. Raises RuntimeError with what it said, where it fails."""
        finished = subprocess.run(
            [self.folder / program, *arguments],
            env=self.environment,
            user=self.user,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
        if finished.returncode:
            raise RuntimeError(f"{program} failed: {finished.stderr or finished.stdout}")


def binaries() -> Binaries | str:
    """PostgreSQL's programs on this machine, or why there are none."""
    if not SERVER_URL:
        return "OCCUPANCY_TEST_DATABASE_URL names no TimescaleDB"
    server = asyncio.run(_server())
    folder = Path(os.environ.get("OCCUPANCY_TEST_POSTGRES_BIN") or server["BINDIR"])
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        return f"no {missing[0]} in {folder}: set OCCUPANCY_TEST_POSTGRES_BIN"
    user = None
    if os.geteuid() == 0:
        user = os.environ.get("OCCUPANCY_TEST_POSTGRES_USER") or _owner(Path(server["data_directory"]))
        if user is None:
            return "PostgreSQL does not run as root: set OCCUPANCY_TEST_POSTGRES_USER"
    library = folder.parent / "lib"
    paths = os.pathsep.join(filter(None, (str(library), os.environ.get("LD_LIBRARY_PATH"))))
    return Binaries(folder, {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": paths, "LC_ALL": "C"}, user)


async def _server() -> dict[str, str]:
    connection = await asyncpg.connect(SERVER_URL)
    try:
        rows = await connection.fetch(
            "SELECT name, setting FROM pg_config WHERE name = 'BINDIR' "
            "UNION ALL SELECT name, setting FROM pg_settings WHERE name = 'data_directory'"
        )
    finally:
        await connection.close()
    return {row["name"]: row["setting"] for row in rows}


def _owner(folder: Path) -> str | None:
    try:
        owner = pwd.getpwuid(folder.stat().st_uid)
    except (OSError, KeyError):
        return None
    return owner.pw_name if owner.pw_uid else None


def free_port() -> int:
    """A port of loopback that nobody listens on, any of 20,000: other processes of the tests look for one too."""
    for port in random.sample(range(5440, 25440), 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise RuntimeError("no free port")


async def until(is_so: Callable[[], Awaitable[object]], seconds: float = _PATIENCE) -> None:
    """Return when it is so. Raises TimeoutError where that takes too long."""
    deadline = time.monotonic() + seconds
    while not await is_so():
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(0.02)


@dataclass
class Server:
    """A PostgreSQL server by its data directory and port; `process` while it runs."""

    binaries: Binaries
    data: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    def url(self, database: str = "occupancy") -> str:
        """The address of one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def configure(self, **settings: str) -> None:
        """Add settings; they count from the next start or reload on."""
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    async def start(self) -> None:
        """Start it, and return when it can be asked."""
        self._launch()
        await until(self._answers)

    def _launch(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.binaries.folder / "postgres", "-D", self.data, "-p", str(self.port)],
                env=self.binaries.environment,
                user=self.binaries.user,
                cwd="/",
                stdout=log,
                stderr=log,
            )

    @property
    def _log(self) -> Path:
        return self.data.parent / f"{self.data.name}.log"

    async def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"the server ended: {self._log.read_text()[-3000:]}")
        try:
            connection = await asyncpg.connect(self.url("postgres"), timeout=5)
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    async def execute(self, *commands: str, database: str = "occupancy") -> None:
        """Run commands on a connection of its own."""
        connection = await asyncpg.connect(self.url(database))
        try:
            for command in commands:
                await connection.execute(command)
        finally:
            await connection.close()

    async def value(self, question: str, *arguments: object) -> object:
        """The answer of a query with one row and one column."""
        connection = await asyncpg.connect(self.url())
        try:
            return await connection.fetchval(question, *arguments)
        finally:
            await connection.close()

    def freeze(self) -> None:
        """Let none of its processes go on, as on a machine that hangs: connections stay open and silent."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (self.process.pid, *map(int, children)):
            os.kill(pid, number)

    def kill(self) -> None:
        """SIGQUIT: an immediate end, without a checkpoint or a word to anybody connected."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(_PATIENCE)
            self.process = None


@dataclass(frozen=True)
class Pair:
    """A primary and its streaming replica."""

    primary: Server
    replica: Server

    async def caught_up(self) -> None:
        """Return when the replica has replayed all that the primary has written."""
        position = await self.primary.value("SELECT pg_current_wal_flush_lsn()::text")

        async def has_replayed() -> object:
            return await self.replica.value("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", position)

        await until(has_replayed)


@asynccontextmanager
async def running_pair(programs: Binaries, *, standby_delay: str = "1s") -> AsyncIterator[Pair]:
    """A migrated primary whose refresh job is off, and a replica that streams from it."""
    home = Path(tempfile.mkdtemp(prefix="occupancy_replication_"))
    if programs.user is not None:
        shutil.chown(home, programs.user)
    primary = Server(programs, home / "primary", free_port())
    replica = None
    try:
        await asyncio.to_thread(_make_primary, primary, standby_delay)
        await primary.start()
        await primary.execute("CREATE DATABASE occupancy", database="postgres")
        await schema.migrate(primary.url())
        await primary.execute(
            "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs "
            "WHERE proc_schema = 'occupancy'",
            "SELECT _timescaledb_functions.stop_background_workers()",
            "UPDATE occupancy.horizon SET read_before = '-infinity', write_before = '-infinity'",
            "UPDATE occupancy.refresher SET holder = NULL, held_until = '-infinity', refreshed_at = '-infinity'",
        )
        replica = Server(programs, home / "replica", free_port())
        await asyncio.to_thread(_copy, primary, replica)
        await replica.start()
        yield Pair(primary, replica)
    finally:
        for server in (replica, primary):
            if server is not None:
                server.kill()
        shutil.rmtree(home)


def _make_primary(server: Server, standby_delay: str) -> None:
    server.binaries.run(
        "initdb", "--pgdata", str(server.data), "--username", "postgres", "--auth", "trust",
        "--encoding", "UTF8", "--locale", "C", "--no-sync",
    )  # fmt: skip
    with (server.data / "postgresql.conf").open("a") as file:
        file.write(_CONFIGURATION.format(delay=standby_delay))


def _copy(primary: Server, replica: Server) -> None:
    primary.binaries.run(
        "pg_basebackup", "--host", "127.0.0.1", "--port", str(primary.port), "--username", "postgres",
        "--pgdata", str(replica.data), "--write-recovery-conf", "--checkpoint", "fast", "--no-sync",
    )  # fmt: skip
