"""An embedded database that lives as long as a `with` block, and never longer than this process."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from occupancy.embedded import launch
from occupancy.embedded.errors import EmbeddedError
from occupancy.embedded.home import Home
from occupancy.embedded.lock import FileLock

_STOP_SECONDS = 15.0


@contextmanager
def running(
    directory: Path,
    *,
    database: str = "occupancy",
    template: Path | None = None,
    node_directory: Path | None = None,
    max_wait: int = launch.MAX_WAIT,
) -> Iterator[str]:
    """Run the embedded database in `directory` on any free port, give its URL, and stop it at the end.

    It also ends if this process is killed: it watches a pipe that only this process holds open.

    Args:
        directory: where its files are or will be.
        database: its name, the same as in the template.
        template: the data directory of a stopped database, copied first: much faster than to create one.
        node_directory: as for EmbeddedDatabase.
        max_wait: seconds for which a connection waits behind another one's idle transaction before it gets an
            error; 0 is for ever.

    Raises:
        EmbeddedError: the directory is in use, the template cannot be copied, no Node, or npm failed.
    """
    home = Home(directory)
    home.directory.mkdir(parents=True, exist_ok=True)
    log_start = home.log_size()
    process = _launch(home, database, template, node_directory, max_wait)
    try:
        yield home.wait_for_bridge(launch.START_TIMEOUT, log_start).url
    finally:
        _end(process)


def _launch(
    home: Home, database: str, template: Path | None, node_directory: Path | None, max_wait: int
) -> "subprocess.Popen[bytes]":
    with home.lock.tried() as lock, home.log.open("ab") as log:
        if lock is None:
            raise EmbeddedError(f"The embedded database in {home.directory} is in use by another process.")
        if template is not None:
            _copy_template(template, home.data)
        home.forget_bridge()
        program = launch.prepare(home, node_directory, lambda _line: None)
        return subprocess.Popen(  # noqa: S603 - our own script, run by the Node that find_node() found
            [*program, *launch.options(home, port=0, database=database, max_wait=max_wait), "--until-eof"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[lock],
            start_new_session=True,  # Ctrl-C ends the tests first, and they end this
        )


def _copy_template(template: Path, data: Path) -> None:
    if FileLock(template.parent / "bridge.lock").is_held():
        raise EmbeddedError(f"The template {template} is in use. Stop its database before copying it.")
    if data.exists():
        raise EmbeddedError(f"{data} exists already. A template can only be copied to a new place.")
    shutil.copytree(template, data)


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
