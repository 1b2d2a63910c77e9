"""Databases for the tests of the embedded database."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from occupancy.embedded import running

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def node_directory() -> Path:
    """Return where the npm packages are, which all tests on a machine share."""
    return Path(os.environ.get("OCCUPANCY_EMBEDDED_NODE_DIR", REPOSITORY / ".occupancy" / "node"))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, node_directory: Path) -> Path:
    """Return the data directory of a new database, to be copied."""
    directory = tmp_path_factory.mktemp("template")
    with running(directory, node_directory=node_directory):
        pass
    return directory / "data"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, template: Path, node_directory: Path) -> Iterator[str]:
    """Run a database for the tests of one module."""
    directory = tmp_path_factory.mktemp("database")
    with running(directory, template=template, node_directory=node_directory) as running_url:
        yield running_url


@pytest.fixture
def impatient_url(tmp_path: Path, template: Path, node_directory: Path) -> Iterator[str]:
    """Run a database that lets nobody wait for more than a second behind an idle transaction."""
    with running(tmp_path, template=template, node_directory=node_directory, max_wait=1) as running_url:
        yield running_url
