"""`occupancy load` on a service: counts are exact while it runs and after it, and the report says what happened."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import uvicorn

from occupancy.app import create_app
from occupancy.settings import Settings
from tests.conftest import KEY

DPUS = 60


@pytest.fixture
def address(database_url: str) -> Iterator[str]:
    """A service with the key, on a port."""
    settings = Settings(api_key=KEY, refresh="auto", refresh_interval="PT0.5S", database_connections=4)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(settings, database_url), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def _load(address: str, url: str, report: Path, *options: str) -> tuple[int, dict[str, Any]]:
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "occupancy",
            "load",
            address,
            "--dpus",
            str(DPUS),
            *options,
            "--json",
            str(report),
        ],
        env=os.environ | {"OCCUPANCY_DATABASE_URL": url, "OCCUPANCY_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert report.exists(), ended.stderr
    document: dict[str, Any] = json.loads(report.read_text())
    return ended.returncode, document


def _stored(url: str) -> int:
    async def ask() -> int:
        connection = await asyncpg.connect(url)
        try:
            number: int = await connection.fetchval("SELECT count(*) FROM occupancy.crossing")
            return number
        finally:
            await connection.close()

    return asyncio.run(ask())


FIELD = ("--late", "0.2", "--max-delay", "7200", "--duplicates", "0.05", "--out-of-order", "0.1")


def test_counts_are_exact_while_events_come_in_and_after(
    address: str, database_url: str, tmp_path: Path
) -> None:
    pace = ("--rate", "60", "--duration", "5", "--verify-every", "0.2")
    status, document = _load(address, database_url, tmp_path / "a.json", "--setup", *pace, *FIELD)
    assert status == 0
    messages = document["messages"]
    assert messages["accepted"] + messages["duplicates"] == messages["scheduled"] == 300
    assert messages["accepted"] == _stored(database_url)
    counts = document["counts"]
    assert counts["during"]["compared"] > 30
    assert counts["during"]["wrong"] == counts["afterwards"]["wrong"] == 0
    assert counts["afterwards"]["compared"] == 15 + 2
    assert counts["unanswered"] == {}
    assert document["receipts_agree"] is True

    # A gateway's batches on top of it; what is declared already stays as it is.
    batches = ("--mode", "batch", "--batch-size", "50", "--rate", "200", "--duration", "2")
    status, document = _load(
        address, database_url, tmp_path / "b.json", "--setup", *batches, *FIELD, "--seed", "2"
    )
    assert status == 0
    assert document["requests"]["by_answer"] == {"200": 8}
    assert document["counts"]["afterwards"] | {"seconds": 0} == {
        "compared": 17,
        "exactly": 17,
        "wrong": 0,
        "seconds": 0,
    }
    assert _stored(database_url) == messages["accepted"] + document["messages"]["accepted"]


def test_events_that_vanish_after_the_answer_make_it_fail(
    address: str, database_url: str, tmp_path: Path
) -> None:
    """The database loses what was acknowledged: someone deletes behind the service's back."""

    async def lose() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            while not await connection.fetchval("SELECT count(*) FROM occupancy.crossing"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await connection.execute("DELETE FROM occupancy.crossing WHERE seq = 1")
        finally:
            await connection.close()

    loser = threading.Thread(target=lambda: asyncio.run(lose()))
    loser.start()
    pace = ("--rate", "40", "--duration", "4", "--verify-every", "0.2")
    status, document = _load(address, database_url, tmp_path / "a.json", "--setup", *pace)
    loser.join()
    assert status == 1
    assert document["counts"]["afterwards"]["wrong"] > 0
    assert document["counts"]["wrong"][0]["space_id"].startswith("load-")


def test_a_site_that_is_not_declared_is_named(address: str, database_url: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "occupancy", "load", address, "--dpus", "1"],
        env=os.environ | {"OCCUPANCY_DATABASE_URL": database_url, "OCCUPANCY_API_KEY": KEY, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "there is no space 'load-floor-0'" in ended.stderr
    assert "--setup" in ended.stderr
