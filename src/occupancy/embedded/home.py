"""The directory of an embedded database: which file is where, and what they tell."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from occupancy.embedded.errors import EmbeddedError
from occupancy.embedded.lock import FileLock

_POLL_SECONDS = 0.02
_LOG_LINES = 15


@dataclass(frozen=True)
class Bridge:
    """A bridge that accepts connections."""

    pid: int
    port: int
    database: str

    @property
    def url(self) -> str:
        """The database's address for PostgreSQL clients; any password is accepted."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{self.database}"


class Home:
    """The files of the embedded database in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.data = self.directory / "data"
        self.log = self.directory / "bridge.log"
        self.state = self.directory / "bridge.json"
        self.lock = FileLock(self.directory / "bridge.lock")

    def bridge(self) -> Bridge | None:
        """Return the running bridge, None if there is none or it does not accept connections yet.

        The file alone proves nothing, its writer may have been killed. It belongs to whoever holds the lock,
        because it is removed under the lock before a bridge starts.
        """
        return self._recorded() if self.lock.is_held() else None

    def wait_for_bridge(self, timeout: float, log_start: int) -> Bridge:
        """Wait until the bridge that was just started accepts connections.

        Args:
            timeout: seconds.
            log_start: the length of the log, in bytes, before the bridge was started.

        Raises:
            EmbeddedError: it ended or took too long; the text ends with what it logged.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            is_alive = self.lock.is_held()
            bridge = self._recorded()
            if bridge is not None and is_alive:
                return bridge
            if not is_alive:
                raise EmbeddedError(f"The embedded database did not start: {self.log_tail(log_start)}")
            pause()
        raise EmbeddedError(f"The embedded database is not ready after {timeout:g} s, see {self.log}")

    def forget_bridge(self) -> None:
        """Remove what an earlier bridge left. Only the holder of the lock may do this."""
        self.state.unlink(missing_ok=True)

    def log_size(self) -> int:
        """Return the length of the log in bytes."""
        return self.log.stat().st_size if self.log.exists() else 0

    def log_tail(self, start: int) -> str:
        """Return the last lines that were logged after the first `start` bytes."""
        text = self.log.read_bytes()[start:].decode(errors="replace").strip()
        return "\n".join(text.splitlines()[-_LOG_LINES:]) or f"it ended without a word in {self.log}"

    def _recorded(self) -> Bridge | None:
        try:
            state = json.loads(self.state.read_text())
        except FileNotFoundError:
            return None
        return Bridge(pid=int(state["pid"]), port=int(state["port"]), database=str(state["database"]))


def pause() -> None:
    """Wait a moment before looking again: neither a file nor a lock of another process can be waited for."""
    time.sleep(_POLL_SECONDS)
