"""A primary with a replica, for all tests of a module; each leaves both running."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.replication.cluster import Binaries, Pair, binaries, running_pair


@pytest.fixture(scope="session")
def programs() -> Binaries:
    """PostgreSQL's programs on this machine."""
    found = binaries()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="module")
def pair(programs: Binaries) -> Iterator[Pair]:
    """A migrated primary and the replica that streams from it."""
    # One loop to the end: the end of a loop is the end of what it has opened.
    with asyncio.Runner() as runner:
        running = running_pair(programs)
        opened = runner.run(running.__aenter__())
        try:
            yield opened
        finally:
            runner.run(running.__aexit__(None, None, None))
