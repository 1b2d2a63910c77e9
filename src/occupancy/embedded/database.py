"""An embedded database that keeps running in the background."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from occupancy.embedded import launch
from occupancy.embedded.errors import EmbeddedError
from occupancy.embedded.home import Bridge, Home, pause

# The shell ends at once and leaves the bridge to the system: it outlives this process and is no child of it.
_DETACH = ("/bin/sh", "-c", '"$@" &', "sh")


@dataclass(frozen=True)
class Status:
    """What is known of an embedded database.

    Attributes:
        running: whether it accepts connections.
        pid: its process number, None if it is not running.
        url: its address, None if it is not running.
        data_directory: PostgreSQL's data directory; may not exist yet.
        log_file: what the bridge said; may not exist yet.
    """

    running: bool
    pid: int | None
    url: str | None
    data_directory: Path
    log_file: Path


def _say_nothing(_line: str) -> None:
    """Ignore a report."""


class EmbeddedDatabase:
    """An embedded TimescaleDB in `directory` (data in directory/data)."""

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        database: str = "occupancy",
        node_directory: Path | None = None,
    ) -> None:
        """Describe a database; nothing is started or created.

        Args:
            directory: where its files are or will be.
            port: on 127.0.0.1; 0 is any free one, another one after each start.
            database: its name, fixed when it is first started.
            node_directory: where its npm packages are installed, which several databases may share. The
                default is the environment variable OCCUPANCY_EMBEDDED_NODE_DIR, then directory/node.
        """
        self._home = Home(directory)
        self._port = port
        self._database = database
        self._node_directory = node_directory

    def start(self, report: Callable[[str], None] = _say_nothing) -> str:
        """Start it in a process that outlives this one, and return its URL once it accepts connections.

        If it already runs in this directory, or is being started by another process, return that one's URL.

        Args:
            report: gets a line per stage.

        Raises:
            EmbeddedError: no Node, npm failed, the port is taken, or it runs under another database name.
        """
        self._home.directory.mkdir(parents=True, exist_ok=True)
        bridge = self._join_or_launch(report)
        if bridge.database != self._database:
            raise EmbeddedError(
                f'The embedded database in {self._home.directory} is named "{bridge.database}", '
                f'not "{self._database}".'
            )
        report(f"ready at {bridge.url}")
        return bridge.url

    def stop(self, timeout: float = 15.0) -> bool:
        """Stop it; return False if it was not running. Only its own process is ever signalled.

        Args:
            timeout: seconds for it to end by itself. After that it is killed, which loses no committed row.

        Raises:
            EmbeddedError: it is just being started, or its process cannot be signalled.
        """
        deadline = time.monotonic() + timeout
        bridge = self._running_before(deadline)
        if bridge is None:
            return False
        self._signal(bridge, signal.SIGTERM)
        if not self._ended_before(deadline):
            self._signal(bridge, signal.SIGKILL)
            self._ended_before(time.monotonic() + timeout)
        return True

    def url(self) -> str | None:
        """Return its URL, None if it is not running."""
        return self.status().url

    def status(self) -> Status:
        """Return what is known of it."""
        bridge = self._home.bridge()
        return Status(
            running=bridge is not None,
            pid=bridge.pid if bridge else None,
            url=bridge.url if bridge else None,
            data_directory=self._home.data,
            log_file=self._home.log,
        )

    def _join_or_launch(self, report: Callable[[str], None]) -> Bridge:
        deadline = time.monotonic() + launch.START_TIMEOUT
        while time.monotonic() < deadline:
            with self._home.lock.tried() as lock:
                if lock is not None:
                    log_start = self._launch(lock, report)
                    break
            bridge = self._home.bridge()
            if bridge is not None:
                return bridge
            pause()  # another process is starting or stopping it
        else:
            raise EmbeddedError(
                f"Another process has kept {self._home.directory} locked, see {self._home.log}"
            )
        return self._home.wait_for_bridge(launch.START_TIMEOUT, log_start)

    def _launch(self, lock: int, report: Callable[[str], None]) -> int:
        """Start the process, which inherits the lock. Return the length of the log before."""
        home = self._home
        home.forget_bridge()
        program = launch.prepare(home, self._node_directory, report)
        is_new = not home.data.exists()
        report(
            "creating a new database (a few seconds) ..." if is_new else "starting the embedded database ..."
        )
        log_start = home.log_size()
        with home.log.open("ab") as log:
            subprocess.run(  # noqa: S603 - our own script, run by the Node that find_node() found
                [*_DETACH, *program, *launch.options(home, port=self._port, database=self._database)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock],
                start_new_session=True,
                check=True,
            )
        return log_start

    def _running_before(self, deadline: float) -> Bridge | None:
        """Return the bridge, after waiting for one that is just starting; None if there is none."""
        while self._home.lock.is_held():
            bridge = self._home.bridge()
            if bridge is not None:
                return bridge
            if time.monotonic() > deadline:
                raise EmbeddedError(f"The embedded database in {self._home.directory} is busy starting.")
            pause()
        return None

    def _ended_before(self, deadline: float) -> bool:
        while self._home.lock.is_held():
            if time.monotonic() > deadline:
                return False
            pause()
        return True

    def _signal(self, bridge: Bridge, number: signal.Signals) -> None:
        if not self._is_ours(bridge.pid):
            raise EmbeddedError(
                f"Process {bridge.pid} is not the embedded database in {self._home.directory}. "
                "Was it started in another container? Stop it there."
            )
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.kill(bridge.pid, number)

    def _is_ours(self, pid: int) -> bool:
        """Tell whether process `pid` serves our data.

        The lock says that the process which wrote its number is alive. But the directory may be shared with a
        container, where the number means another process. Without /proc there are no such containers.
        """
        processes = Path("/proc")
        if not (processes / "self" / "cmdline").exists():
            return True
        try:
            command = (processes / str(pid) / "cmdline").read_bytes().split(b"\0")
        except FileNotFoundError:
            return not self._home.lock.is_held()  # it ended just now
        return os.fsencode(self._home.data) in command
