"""A short run of exactness.py, and the proof that it would notice a wrong answer. The long run is by hand."""

import asyncio
import os
from datetime import UTC, datetime

import pytest

from tests.stress.exactness import Batch, connected, ingest, own_database, stress

URL = os.environ.get("OCCUPANCY_TEST_DATABASE_URL", "")
pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(
        not URL, reason="OCCUPANCY_TEST_DATABASE_URL names no TimescaleDB with several sessions"
    ),
]


async def test_every_count_is_exact_while_everything_changes() -> None:
    summary = await stress(URL, 20)

    assert summary["wrong"] == 0, summary
    assert summary["wrong_rows_at_the_end"] == 0, summary
    assert summary["wrong_effects_at_the_end"] == 0, summary
    assert summary["crossings_lost_or_doubled"] == 0, summary
    assert summary["deadlocks"] == 0, summary
    # All that could have gone wrong did happen.
    assert summary["reads"] > 500, summary
    assert summary["mixed_reads"] > 100, summary
    assert summary["events_late"] > 50, summary
    assert summary["events_refused"] > 50, summary
    assert summary["materializations"] > 3, summary
    assert summary["repairs"] > 3, summary
    assert summary["topology_edits"] > 10, summary


async def test_a_refresher_that_does_not_wait_for_writers_is_caught() -> None:
    summary = await stress(URL, 20, barrier=False)

    assert summary["wrong"] > 0, summary


async def test_writers_that_bring_the_same_unknown_events_in_opposite_orders_do_not_deadlock() -> None:
    now = datetime.now(UTC)
    events = Batch([f"unknown-{i}" for i in range(2000)], [now] * 2000, [1] * 2000, [0] * 2000)
    backwards = Batch(events.dpus[::-1], events.times, events.directions, events.seqs)
    async with (
        own_database(URL, f"stress_unknown_{os.getpid()}") as url,
        connected(url) as one,
        connected(url) as other,
    ):
        for _ in range(3):
            refused = await asyncio.gather(ingest(one, events), ingest(other, backwards))
            assert list(refused) == [2000, 2000]
            await one.execute("TRUNCATE occupancy.rejected_event")
