"""The command that starts a bridge."""

from collections.abc import Callable
from pathlib import Path

from occupancy.embedded.home import Home
from occupancy.embedded.installation import default_node_directory, install
from occupancy.embedded.node import find_node

START_TIMEOUT = 120.0
"""Seconds. A new database takes about three; a slow machine that is busy with other things takes its time."""

MAX_WAIT = 10
"""Seconds for which a connection waits behind another one's idle transaction, before it gets an error."""

# PostgreSQL's recursion goes through JavaScript frames, too. Half of the usual stack of 8 MiB, in KiB.
_STACK_SIZE = 3900


def prepare(home: Home, node_directory: Path | None, report: Callable[[str], None]) -> tuple[str, ...]:
    """Install the bridge if necessary and return the first part of its command line: Node and the script.

    Raises:
        EmbeddedError: there is no Node, or npm failed.
    """
    node = find_node()
    script = install(node, node_directory or default_node_directory(home.directory), report)
    return str(node.executable), f"--stack-size={_STACK_SIZE}", str(script)


def options(home: Home, *, port: int, database: str, max_wait: int = MAX_WAIT) -> tuple[str, ...]:
    """Return the rest of the command line.

    Args:
        home: where the data are.
        port: on 127.0.0.1; 0 is any free one.
        database: its name.
        max_wait: seconds for which a connection waits behind another one's idle transaction.
    """
    named = {"data": home.data, "port": port, "database": database, "max-wait": max_wait, "state": home.state}
    return tuple(text for name, value in named.items() for text in (f"--{name}", str(value)))
