"""Keeping the aggregates up to date, step by step; the arithmetic and the protocol are SQL functions.

Each step is a transaction of its own. Whatever dies between two steps, every count stays exact: readers trust only
what a finished step has published.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg

from occupancy.database import Database
from occupancy.errors import DatabaseUnavailable
from occupancy.history.faults import naming
from occupancy.settings import Settings

_log = logging.getLogger(__name__)

# Seconds for held events in one refresh, as in the procedure: new buckets must not wait for all of them.
_STORING_HELD = 20.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a refresh is: `phase` is repair or materialize; steps done in it, and what is left to do."""

    phase: str
    steps: int
    marks: int
    read_before: datetime
    write_before: datetime


Report = Callable[[Progress], None]


class Refresher:
    """Runs refreshes on one database. Any number of them may exist: the lease lets one work at a time."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def run_once(self, due_after: timedelta = timedelta(0), report: Report | None = None) -> bool:
        """One whole refresh. False if another holds the lease, or one ended less than `due_after` ago."""
        holder = uuid4()
        step = self._database.step
        if not await step("take_refresh", holder, due_after):
            return False
        complete = False
        try:
            await self._store_held(holder)
            await step("claim_stale", holder)
            await step("move_horizon", holder, self._settings.refresh_lag)
            try:
                await self._repeat("repair_next", "repair", holder, self._settings.repair_budget, report)
            except asyncpg.LockNotAvailableError as error:
                # Aggregates that are being compressed: their marks wait, and nothing else has to.
                _log.warning("repair put off: %s", error)
            await self._repeat("materialize_next", "materialize", holder, self._settings.refresh_step, report)
            complete = True
        finally:
            await step("end_refresh", holder, complete)
        return True

    async def _store_held(self, holder: UUID) -> None:
        """Store what was held while a chunk was compressed, if that is over; what takes too long, the next time."""
        end = time.monotonic() + _STORING_HELD
        try:
            while await self._database.step("store_held", holder) and time.monotonic() < end:
                pass
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            _log.warning("storing held events put off: %s", error)

    async def _repeat(
        self, function: str, phase: str, holder: object, size: timedelta, report: Report | None
    ) -> None:
        steps = 0
        more = True
        while more:
            more = await self._database.step(function, holder, size)  # type: ignore[arg-type]
            steps += 1
            if report is not None:
                report(await self._progress(phase, steps))

    async def _progress(self, phase: str, steps: int) -> Progress:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT read_before, write_before, (SELECT count(*) FROM occupancy.stale) AS marks "
                "FROM occupancy.horizon"
            )
        assert row is not None  # noqa: S101 -- the horizon has one row
        return Progress(phase, steps, row["marks"], row["read_before"], row["write_before"])

    async def rebuild(self, start: datetime, end: datetime) -> int:
        """Mark [start, end) of every space as stale, so that the next refresh computes it anew. Returns the spaces.

        Counts stay exact meanwhile: readers take what is marked from raw crossings. Raises InvalidInput where those are
        no longer stored.
        """
        with naming({"from": start.isoformat()}):
            async with self._database.connection() as connection:
                marked: int = await connection.fetchval("SELECT occupancy.mark_stale($1, $2)", start, end)
        return marked

    async def run_forever(self) -> None:
        """Refresh when nobody else has for two intervals: where a TimescaleDB job does it, this only stands by."""
        interval = self._settings.refresh_interval
        while True:
            try:
                await self.run_once(due_after=2 * interval)
            except DatabaseUnavailable as error:
                _log.warning("refresh put off: %s", error.detail)
            except Exception:
                _log.exception("refresh failed; the next one goes on from the last finished step")
            await asyncio.sleep(interval.total_seconds())
