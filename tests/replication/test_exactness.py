"""On a replica, counts are exact at every instant too, and every answer of the service is as fresh as it says.

Short runs; the long ones are by hand: tests/stress/replica.py.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from tests.replication.cluster import Binaries, running_pair
from tests.stress import exactness
from tests.stress.exactness import Run, Summary, connected, edit, refresh, write
from tests.stress.replica import BREAKS, stress

pytestmark = pytest.mark.native


async def test_every_answer_is_as_fresh_as_it_says(programs: Binaries) -> None:
    summary = await stress(programs, 12)

    assert summary["wrong"] == 0, summary
    # All that could have gone wrong did happen.
    assert summary["reads_replica"] > 50, summary
    assert summary["reads_with_token_replica"] > 5, summary
    assert summary["reads_latest_replica"] > 5, summary
    assert summary["files"] > 10, summary
    assert summary["largest_lag_seconds"] > 0.2, summary
    assert summary["fallbacks"].get("position", 0) > 0, summary


@pytest.mark.parametrize("how", BREAKS)
async def test_a_service_that_breaks_its_promise_is_caught(programs: Binaries, how: str) -> None:
    summary = await stress(programs, 10, how)

    assert summary["wrong"] > 0, summary


async def test_counts_on_the_replica_are_those_of_its_crossings(programs: Binaries) -> None:
    async with running_pair(programs) as pair:
        clock = await exactness.set_up(pair.primary.url(), barrier=True)
        run = Run(pair.primary.url(), clock, Summary(barrier=True))
        await exactness._write_history(run)
        await pair.caught_up()
        on_replica = replace(run, url=pair.replica.url())

        async def read() -> None:
            while not run.stopping:
                try:
                    await exactness.read(on_replica)
                except asyncpg.SerializationError:
                    # replay could not wait for it
                    run.count("conflicts")

        async def stop() -> None:
            await asyncio.sleep(12)
            run.stopping = on_replica.stopping = True

        async with asyncio.TaskGroup() as group:
            for actor in (write, write, refresh, edit):
                group.create_task(actor(run))
            for _ in range(2):
                group.create_task(read())
            group.create_task(stop())
        async with connected(pair.replica.url()) as connection:
            assert await connection.fetchval("SELECT pg_is_in_recovery()")
    summary = run.summary.as_dict()
    assert summary["wrong"] == 0, summary
    assert summary["reads"] > 200, summary
    assert summary["mixed_reads"] > 50, summary
    assert summary["materializations"] > 2, summary
    assert summary["repairs"] > 2, summary
    assert summary["topology_edits"] > 5, summary
