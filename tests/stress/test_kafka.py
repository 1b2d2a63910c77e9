"""Workers that die, freeze, come and go: every event once. How to run it for longer: see kafka.py here."""

from __future__ import annotations

import os

import pytest

from tests.stress.kafka import PARTITIONS, run

URL = os.environ.get("OCCUPANCY_TEST_DATABASE_URL", "")
pytestmark = pytest.mark.native


async def test_nothing_is_lost_and_nothing_is_stored_twice() -> None:
    outcome = await run(URL, 25)
    assert outcome.what["killed"]
    assert outcome.what["frozen"]
    assert outcome.what["stopped"]
    assert outcome.sent > 20_000
    assert (outcome.lost, outcome.twice, outcome.failed_workers) == (0, 0, [])
    assert outcome.stored == outcome.sent
    # partitions really moved: each is taken over once when it all begins
    assert outcome.epochs > PARTITIONS
