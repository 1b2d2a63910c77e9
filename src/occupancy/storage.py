"""What becomes of old data: chunks that are compressed or dropped, rejected events that are deleted.

The work and its rules are SQL functions, run by a TimescaleDB job or, where no background worker exists, by the
service; what they shall do is in one row of the database (`occupancy.storage`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from occupancy.database import Database
from occupancy.errors import InvalidInput, OccupancyError
from occupancy.settings import Settings

_log = logging.getLogger(__name__)

# Somebody else is at the same data: what is put off is done by the next run.
_PUT_OFF = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedObjectError,
)
# In this order: what a run drops was given up by the run before, so that no reader is left who counts on it.
_STEPS = ("drop_crossings", "move_dropped_before", "delete_rejected")

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Policy:
    """What becomes of old data; None: it stays as it is. Ages of a chunk are those of its end."""

    compress_crossings_after: timedelta | None
    compress_aggregates_after: timedelta | None
    keep_crossings: timedelta | None
    keep_rejected: timedelta | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of crossings or of the aggregates of 15 minutes: [start, end), aware, UTC; sizes in bytes.

    `due` is what the policy would do with it now: compress, drop, or nothing.
    """

    holds: str
    start: datetime
    end: datetime
    compressed: bool
    partial: bool
    size: int
    due: str


@dataclass(frozen=True, slots=True)
class State:
    """What is stored, and up to which instant single crossings were dropped (None: nothing was).

    `bytes_per_crossing` is all that lies on the disk for crossings and aggregates; None without any crossing.
    `crossings` is an estimate of the database; `held` are the events that wait for a chunk to be compressed.
    """

    policy: Policy
    dropped_before: datetime | None
    worked_at: datetime | None
    chunks: list[Chunk]
    coarse_aggregates: int
    crossings: int
    held: int

    @property
    def bytes_per_crossing(self) -> float | None:
        """Bytes on the disk for each crossing that is stored."""
        size = sum(chunk.size for chunk in self.chunks) + self.coarse_aggregates
        return size / self.crossings if self.crossings else None


class Storage:
    """The work on old data of one database. Any number may exist: one step is done at a time, whoever does it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def state(self) -> State:
        """What is stored now, and what is due."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                """
                SELECT storage.compress_crossings_after, storage.compress_aggregates_after, storage.keep_crossings,
                  storage.keep_rejected, nullif(storage.worked_at, '-infinity') AS worked_at,
                  nullif(horizon.dropped_before, '-infinity') AS dropped_before,
                  (
                    SELECT coalesce(sum(pg_total_relation_size(chunk)), 0)
                    FROM unnest(ARRAY['1d', '30d']) AS level
                    CROSS JOIN LATERAL show_chunks(occupancy.flow_table(level)) AS chunk
                  )::bigint AS coarse_aggregates,
                  approximate_row_count('occupancy.crossing') AS crossings,
                  (SELECT count(*) FROM occupancy.held_crossing) AS held
                FROM occupancy.storage CROSS JOIN occupancy.horizon
                """
            )
            assert row is not None  # noqa: S101 -- both tables have one row
            chunks = await connection.fetch(
                "SELECT * FROM occupancy.storage_report() ORDER BY holds, chunk_start"
            )
        return State(
            policy=_policy(row),
            dropped_before=row["dropped_before"],
            worked_at=row["worked_at"],
            chunks=[
                Chunk(
                    chunk["holds"], chunk["chunk_start"], chunk["chunk_end"], chunk["compressed"], chunk["partial"],
                    chunk["bytes"], chunk["due"],
                )
                for chunk in chunks
            ],
            coarse_aggregates=row["coarse_aggregates"],
            crossings=row["crossings"],
            held=row["held"],
        )  # fmt: skip

    async def change(self, changes: Mapping[str, timedelta | None]) -> Policy:
        """Set what becomes of old data, for every process and job of the database. Keys are fields of Policy.

        Raises InvalidInput for an age that is refused.
        """
        columns = ", ".join(f"{name} = ${place}" for place, name in enumerate(changes, 1))
        async with self._database.connection() as connection:
            try:
                row = await connection.fetchrow(
                    f"UPDATE occupancy.storage SET {columns} RETURNING *", *changes.values()
                )
            except asyncpg.CheckViolationError as error:
                field = next(
                    (name for name in changes if name in (error.constraint_name or "")), "keep_crossings"
                )
                reason = (
                    "crossings are kept for two days at least"
                    if field == "keep_crossings"
                    else "an age is not negative"
                )
                raise InvalidInput(f"{field}: {reason}", field=field, value=str(changes[field])) from error
        assert row is not None  # noqa: S101 -- the table has one row
        return _policy(row)

    async def run_once(self, due_after: timedelta = timedelta(0), report: Report | None = None) -> bool:
        """Do all that is due. False if it was begun less than `due_after` ago."""
        if not await self._value("take_storage($1)", due_after):
            return False
        tell = report or _tell_nobody
        for step in _STEPS:
            while (done := await self._step(step, tell, f"{step}()")) not in (None, 0):
                tell(f"{step}: {done}")
        for chunk in await self._due():
            if await self._step(f"compressing {chunk}", tell, "compress_one($1::text::regclass)", chunk):
                tell(f"compressed {chunk}")
        return True

    async def _due(self) -> list[str]:
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT chunk::text FROM occupancy.chunks_to_compress() AS chunk")
        return [row["chunk"] for row in rows]

    async def _step(self, name: str, tell: Report, call: str, *arguments: object) -> Any:
        try:
            return await self._value(call, *arguments)
        except _PUT_OFF as error:
            _log.warning("put off: %s: %s", name, error)
            tell(f"put off: {name}: {error}")
            return None

    async def _value(self, call: str, *arguments: object) -> Any:
        async with self._database.connection() as connection:
            return await connection.fetchval(f"SELECT occupancy.{call}", *arguments, timeout=float("inf"))

    async def run_forever(self, settings: Settings) -> None:
        """Do it when nobody else has for two intervals: where a TimescaleDB job does it, this only stands by."""
        interval = settings.storage_interval
        while True:
            try:
                await self.run_once(due_after=2 * interval)
            except OccupancyError as error:
                _log.warning("work on old data put off: %s", error.detail)
            except Exception:
                _log.exception("work on old data failed; the next run goes on")
            await asyncio.sleep(interval.total_seconds())


def _tell_nobody(_line: str) -> None:
    pass


def _policy(row: asyncpg.Record) -> Policy:
    return Policy(
        row["compress_crossings_after"],
        row["compress_aggregates_after"],
        row["keep_crossings"],
        row["keep_rejected"],
    )
