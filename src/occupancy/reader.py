"""What every read needs: connections to ask on, wherever they lead."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import asyncpg


class Statements(Protocol):
    """Takes statements that read, each in a snapshot of its own; what they may raise is asyncpg's."""

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        """All rows."""
        ...

    async def fetchrow(self, query: str, *args: object) -> asyncpg.Record | None:
        """The first row, None if there is none."""
        ...

    async def fetchval(self, query: str, *args: object) -> Any:
        """The first value of the first row, None if there is none."""
        ...


class Reader(Protocol):
    """A database, or a primary and its replica, to read from."""

    def connection(self) -> AbstractAsyncContextManager[Statements]:
        """A connection for as long as the block lasts.

        Raises DatabaseUnavailable where there is nobody to ask, Busy where no answer comes in time.
        """
        ...
