"""How the metadata is read and changed: transactions, look-ups by id, and errors in the caller's words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal, TypeVar
from zoneinfo import available_timezones

import asyncpg
from sqlalchemy import exc as sqlalchemy_errors
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from occupancy.errors import Busy, DatabaseUnavailable, NotFound, OccupancyError, UnknownReference, translated
from occupancy.models import Doorway, Dpu, Space

Named = TypeVar("Named", Space, Doorway, Dpu)
_Isolation = Literal["READ COMMITTED", "REPEATABLE READ"]

_CONNECTION_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
)


class Store:
    """The metadata of one organization. `organization` is its internal number."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], organization: int) -> None:
        self._sessions = sessions
        self.organization = organization

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A transaction that sees one state of the database, however many statements it runs."""
        async with self._transaction("REPEATABLE READ", {}) as session:
            yield session

    @asynccontextmanager
    async def change(self, given: Mapping[str, Any] | None = None) -> AsyncIterator[AsyncSession]:
        """A transaction that changes the metadata, alone: others wait until it ends.

        `given` holds what the caller gave, by field, to be named by the errors.
        Raises the OccupancyError of a constraint that the change breaks.
        """
        async with self._transaction("READ COMMITTED", given or {}) as session:
            # Before the first row, so that no two changes can wait for each other.
            await session.execute(text("SELECT occupancy.lock_topology()"))
            yield session

    @asynccontextmanager
    async def _transaction(
        self, isolation: _Isolation, given: Mapping[str, Any]
    ) -> AsyncIterator[AsyncSession]:
        try:
            async with self._sessions() as session, session.begin():
                await session.connection(execution_options={"isolation_level": isolation})
                yield session
        except sqlalchemy_errors.DBAPIError as error:
            known = _in_callers_words(error, given)
            if known is None:
                raise
            raise known from error
        except sqlalchemy_errors.TimeoutError as error:
            raise Busy("the database did not answer in time") from error
        except OSError as error:
            raise DatabaseUnavailable("the database cannot be reached") from error

    async def find(self, session: AsyncSession, kind: type[Named], given: str) -> Named | None:
        """The space, doorway or DPU with this id, or None."""
        by_id = {f"{kind.__tablename__}_id": given}
        return await session.scalar(select(kind).filter_by(organization=self.organization, **by_id))

    async def existing(self, session: AsyncSession, kind: type[Named], given: str) -> Named:
        """The space, doorway or DPU that a path names; raises NotFound."""
        found = await self.find(session, kind, given)
        if found is None:
            noun = kind.__tablename__
            raise NotFound(f"there is no {noun} {given!r}", field=f"{noun}_id", value=given)
        return found

    async def referenced(
        self, session: AsyncSession, kind: type[Named], given: str | None, field: str
    ) -> Named | None:
        """The space, doorway or DPU that `field` names, None for None; raises UnknownReference."""
        if given is None:
            return None
        found = await self.find(session, kind, given)
        if found is None:
            raise UnknownReference(f"there is no {kind.__tablename__} {given!r}", field=field, value=given)
        return found


def number(row: Space | Doorway | Dpu | None) -> int | None:
    """The internal number of a row that may not be there."""
    return None if row is None else row.id


async def clock(session: AsyncSession) -> datetime:
    """Now, in UTC, by the clock of the database: later for a later change, whichever process makes it."""
    now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return now


async def unknown_time_zones(session: AsyncSession, names: Collection[str]) -> set[str]:
    """Those of `names` that are no IANA time zones, here or in the database, which may know older ones."""
    query = text("SELECT name FROM pg_catalog.pg_timezone_names WHERE name = ANY (:names)")
    known = await session.scalars(query, {"names": list(names)})
    return set(names) - (set(known) & available_timezones())


def _in_callers_words(error: sqlalchemy_errors.DBAPIError, given: Mapping[str, Any]) -> OccupancyError | None:
    cause = getattr(error.orig, "__cause__", None)
    if error.connection_invalidated or isinstance(cause, _CONNECTION_LOST):
        return DatabaseUnavailable("the database cannot be reached")
    if isinstance(cause, asyncpg.LockNotAvailableError):
        return Busy("another change of spaces, doorways or placements is under way")
    known = translated(cause) if isinstance(cause, asyncpg.PostgresError) else None
    if known is not None and known.field is not None:
        known.value = given.get(known.field)
    return known
