"""From rows to the bytes of a file, a page of rows at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import tzinfo
from typing import Literal, Protocol, TypeAlias

from occupancy.export.columns import Row, Table
from occupancy.export.text import CsvEncoder, NdjsonEncoder

Format: TypeAlias = Literal["csv", "ndjson", "parquet"]

MEDIA_TYPES: dict[Format, str] = {
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}


class Encoder(Protocol):
    """Each call gives the bytes that follow those of the call before."""

    def begin(self) -> bytes:
        """What a file begins with."""

    def page(self, rows: Sequence[Row]) -> bytes:
        """The rows of one page."""

    def end(self) -> bytes:
        """What makes the file complete."""


def encoder(file_format: Format, table: Table, tz: tzinfo) -> Encoder:
    """An encoder of one file. Texts give instants in `tz`; Parquet has them typed, in UTC."""
    if file_format == "csv":
        return CsvEncoder(table, tz)
    if file_format == "ndjson":
        return NdjsonEncoder(table, tz)
    # Loaded by who needs it: it takes longer to load than the rest of the service.
    from occupancy.export.parquet import ParquetEncoder  # noqa: PLC0415

    return ParquetEncoder(table)


async def encoded(
    file_format: Format, table: Table, tz: tzinfo, pages: AsyncIterator[Sequence[Row]]
) -> AsyncIterator[bytes]:
    """The bytes of a file, piece by piece. An error in `pages` ends it before what makes it complete."""
    file = encoder(file_format, table, tz)
    yield file.begin()
    async for rows in pages:
        # In a thread: ten thousand rows take long enough to hold up other requests on the event loop.
        yield await asyncio.to_thread(file.page, rows)
    yield file.end()
