"""The rows of an exported table, a page at a time: from the same calls as the pages of the lists."""

from __future__ import annotations

from collections.abc import AsyncIterator

from occupancy.export.columns import EVENTS_OF_DPU, EVENTS_OF_SPACE, SERIES, Row
from occupancy.history.events import EventKey, EventPage, all_pages
from occupancy.history.series import Position, SeriesQuestion, series_pages
from occupancy.history.spaces import Scope
from occupancy.reader import Reader

ROWS_PER_PAGE = 10_000


async def series_rows(
    reader: Reader, scope: Scope, question: SeriesQuestion, at: Position | None = None
) -> AsyncIterator[list[Row]]:
    """The rows of SERIES from a position on."""
    async for courses in series_pages(reader, scope, question, at, ROWS_PER_PAGE):
        yield SERIES.rows(courses)


async def rows_of_space(
    space_id: str, page: EventPage, after: EventKey | None = None
) -> AsyncIterator[list[Row]]:
    """The rows of EVENTS_OF_SPACE behind a key."""
    async for events in all_pages(page, after, ROWS_PER_PAGE):
        yield EVENTS_OF_SPACE.rows(events, space_id)


async def rows_of_dpu(page: EventPage, after: EventKey | None = None) -> AsyncIterator[list[Row]]:
    """The rows of EVENTS_OF_DPU behind a key."""
    async for events in all_pages(page, after, ROWS_PER_PAGE):
        yield EVENTS_OF_DPU.rows(events)
