"""Keeps a data directory to one bridge at a time.

The lock is one on an open file, which the bridge inherits from the process that starts it. The operating
system frees it however the bridge ends. So there is no stale lock to recognize, and "locked" means "a bridge
runs, or is starting or stopping".
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from occupancy.embedded.errors import EmbeddedError

try:
    import fcntl
except ImportError as error:  # pragma: no cover
    raise EmbeddedError("The embedded database runs on Linux and macOS only. On Windows use WSL.") from error


class FileLock:
    """A lock on the file at `path`, which is created when it is first needed and never removed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def tried(self) -> Iterator[int | None]:
        """Give the descriptor of the locked file, or None if it is locked already.

        The lock lasts as long as the descriptor is open here or in a child process that inherited it.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield descriptor if _lock(descriptor, fcntl.LOCK_EX) else None
        finally:
            os.close(descriptor)

    def is_held(self) -> bool:
        """Tell whether somebody holds the lock."""
        try:
            descriptor = os.open(self._path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not _lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
