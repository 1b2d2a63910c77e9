"""Which heartbeat is the latest: clocks are set back, gateways are late, and several come in together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
# For so long nothing newer came in, and the next one counts whatever its clock says.
PATIENCE = 15 * MINUTE
MAX_SKEW = 5 * MINUTE


@dataclass(frozen=True)
class Beat:
    """A heartbeat of a DPU: its own clock and the service's, in minutes after noon; `seq` tells it from others."""

    clock: float
    received: float
    seq: int

    @property
    def time(self) -> datetime:
        return NOON + self.clock * MINUTE

    @property
    def received_at(self) -> datetime:
        return NOON + self.received * MINUTE

    @property
    def sent_at(self) -> datetime:
        """As the service makes it: the clock's, unless that is certainly wrong."""
        return self.time if self.time <= self.received_at + MAX_SKEW else self.received_at

    @property
    def place(self) -> tuple[datetime, datetime]:
        return min(self.sent_at, self.received_at), self.sent_at


@pytest.fixture(autouse=True)
async def _dpu(connection: asyncpg.Connection) -> None:
    await connection.execute("INSERT INTO occupancy.dpu (organization, dpu_id, name) VALUES (1, 'd', '')")


async def keep(connection: asyncpg.Connection, beats: Sequence[Beat]) -> list[int]:
    """Keep what comes in together; the numbers of those that are older than the latest."""
    rows = await connection.fetch(
        "SELECT * FROM occupancy.keep_heartbeats(1, $1, $2, $3, $4, $5)",
        ["d"] * len(beats),
        [beat.seq for beat in beats],
        [beat.time for beat in beats],
        [beat.received_at for beat in beats],
        [beat.sent_at for beat in beats],
    )
    assert all(row["code"] == "older" for row in rows)
    return [beats[row["index"] - 1].seq for row in rows]


async def latest(connection: asyncpg.Connection) -> Beat:
    row = await connection.fetchrow("SELECT seq, time, received_at, heard_at FROM occupancy.heartbeat")
    assert row is not None
    return Beat((row["time"] - NOON) / MINUTE, (row["received_at"] - NOON) / MINUTE, row["seq"])


# clocks and receipts, in minutes after noon; which one is the latest after each
CASES: dict[str, tuple[list[tuple[float, float]], list[int]]] = {
    "a clock that is right": ([(0, 0), (1, 1), (2, 2)], [1, 2, 3]),
    "a gateway that is late": ([(10, 10), (3, 11), (11, 11.5), (4, 12)], [1, 1, 3, 3]),
    "late by more than a clock may be wrong": ([(10, 10), (-600, 11)], [1, 1]),
    # 3 minutes ahead, then set right
    "a clock that was ahead": ([(3, 0), (4, 1), (2, 2), (3, 3)], [1, 2, 3, 4]),
    "a clock that was ahead, and is behind": ([(3, 0), (4, 1), (1.2, 2), (2.2, 3)], [1, 2, 3, 4]),
    "a clock that was ahead by a day": ([(1440, 0), (1, 1), (2, 2)], [1, 2, 3]),
    "a gateway that is late with what a right clock sent": ([(3, 0), (2, 2), (-7, 3)], [1, 2, 2]),
    # hidden until the latest one is a quarter of an hour old
    "a clock that is set back by 20 minutes": ([(0, 0), (-19, 1), (-5.1, 14.9), (-4.9, 15.1)], [1, 1, 1, 4]),
    "a clock that is set back by years": (
        [(0, 0), (-2e6, 1), (-2e6 + 13, 14), (-2e6 + 14.5, 15.5), (-2e6 + 15, 16)],
        [1, 1, 1, 4, 5],
    ),
    "a clock that is set right after years": ([(-2e6, 0), (1, 1), (2, 2)], [1, 2, 3]),
}


@pytest.mark.parametrize("name", CASES)
async def test_the_latest_heartbeat_when_they_come_one_by_one(
    connection: asyncpg.Connection, name: str
) -> None:
    clocks, expected = CASES[name]
    for seq, ((clock, received), kept) in enumerate(zip(clocks, expected, strict=True), start=1):
        older = await keep(connection, [Beat(clock, received, seq)])
        assert (await latest(connection)).seq == kept, f"after {seq}"
        assert older == ([] if kept == seq else [seq])
    heard = await connection.fetchval("SELECT heard_at FROM occupancy.heartbeat")
    assert heard == NOON + clocks[-1][1] * MINUTE


@pytest.mark.parametrize("name", [name for name in CASES if "set back" not in name])
async def test_the_latest_heartbeat_when_they_are_written_together(
    connection: asyncpg.Connection, name: str
) -> None:
    clocks, expected = CASES[name]
    beats = [Beat(clock, received, seq) for seq, (clock, received) in enumerate(clocks, start=1)]
    older = await keep(connection, beats[::-1])
    assert (await latest(connection)).seq == expected[-1]
    assert set(older) == {beat.seq for beat in beats} - {expected[-1]}


async def test_of_one_request_the_one_that_is_furthest_ahead_counts_until_the_next(
    connection: asyncpg.Connection,
) -> None:
    """Whether its clock was set back meanwhile, or runs ahead all the time, nobody can tell from one request."""
    assert sorted(await keep(connection, [Beat(2, 1, 1), Beat(3, 1, 2), Beat(0.9, 1, 3)])) == [1, 3]
    assert (await latest(connection)).seq == 2
    assert await keep(connection, [Beat(1.9, 2, 4)]) == []
    assert (await latest(connection)).seq == 4


async def test_the_same_heartbeat_again_is_not_older(connection: asyncpg.Connection) -> None:
    for received in (0, 2):
        assert await keep(connection, [Beat(-1, received, 1)]) == []
    assert await latest(connection) == Beat(-1, 0, 1)


_beats = st.builds(Beat, clock=st.integers(-20, 40), received=st.integers(0, 24), seq=st.integers(1, 2**40))


@given(beats=st.lists(_beats, min_size=1, max_size=12), cuts=st.sets(st.integers(1, 11)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_however_they_are_grouped_the_latest_is_that_of_the_rule(
    connection: asyncpg.Connection, beats: list[Beat], cuts: set[int]
) -> None:
    await connection.execute("TRUNCATE occupancy.heartbeat")
    beats.sort(key=lambda beat: beat.received)
    edges = [0, *sorted(cut for cut in cuts if cut < len(beats)), len(beats)]
    stored: Beat | None = None
    for start, end in pairwise(edges):
        group = beats[start:end]
        best = max(group, key=lambda beat: (beat.place, group.index(beat)))
        if stored is None or best.place > stored.place or best.received_at > stored.received_at + PATIENCE:
            stored = best
        older = await keep(connection, group)
        assert (await latest(connection)).place == stored.place
        assert sorted(older) == sorted(beat.seq for beat in group if beat.place < stored.place)
