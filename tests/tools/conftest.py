"""The building of `occupancy demo` on a server, and a login that reads it as an analyst's tool would.

The tools have a virtual environment of their own (`make tools`): what they need and what the service needs differ.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import URL, make_url

from occupancy.settings import Settings
from tests.conftest import KEY, ROOT
from tests.sql import bi

BIN = ROOT / ".venv-tools" / "bin"


@pytest.fixture
async def analyst(native_url: str) -> AsyncIterator[URL]:
    """The address of the database for a login of its own, which owns a schema of its name to write into."""
    owner = await asyncpg.connect(native_url)
    await bi.demo_building(owner, native_url, Settings(api_key=KEY, refresh="off"))
    try:
        async with bi.login(owner, "default") as name:
            await owner.execute(f"CREATE SCHEMA {name} AUTHORIZATION {name}")
            yield make_url(native_url).set(username=name)
    finally:
        await owner.close()


@pytest.fixture
def tool_python() -> Callable[..., Any]:
    """Runs a program on the Python of the tools, and gives what it printed as JSON."""
    if not (BIN / "python").exists():
        pytest.skip("the tools are not installed: make tools")

    def run(program: str, *arguments: str) -> Any:
        done = subprocess.run(
            [BIN / "python", "-c", program, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


async def in_a_thread(call: Callable[..., Any], *arguments: Any) -> Any:
    """Run what blocks beside the loop."""
    return await asyncio.to_thread(call, *arguments)
