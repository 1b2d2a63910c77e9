"""Exports of the command line: whole ranges into a file that is there only once it is complete."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, tzinfo
from pathlib import Path
from typing import BinaryIO

from occupancy.database import DEFAULT_ORGANIZATION, Database
from occupancy.errors import InvalidInput
from occupancy.export.columns import EVENTS_OF_SPACE, SERIES, Row, Table
from occupancy.export.encoder import MEDIA_TYPES, Format, encoded
from occupancy.export.pages import rows_of_space, series_rows
from occupancy.history.events import EventsQuestion, events_of_space
from occupancy.history.series import SeriesQuestion
from occupancy.history.spaces import Scope, find_space

Report = Callable[[float], None]


def format_of(target: Path | None) -> Format:
    """The format that the name of a file ends in; CSV without a file or an ending.

    Raises InvalidInput for an ending that stands for no format.
    """
    ending = "" if target is None else target.suffix.removeprefix(".").lower()
    if not ending:
        return "csv"
    for file_format in MEDIA_TYPES:
        if file_format == ending:
            return file_format
    raise InvalidInput(
        f"{ending!r} is no format: give --format, or a name that ends in {', '.join(MEDIA_TYPES)}",
        field="output",
        value=str(target),
    )


@contextmanager
def output_file(target: Path | None, file_format: Format, *, force: bool) -> Iterator[BinaryIO]:
    """The file to write to: a temporary name beside `target`, which it is given at the end; None: standard output.

    Where the work in between fails, nothing is left. Raises InvalidInput where `target` is there already, unless
    `force`, where it cannot be made, and for Parquet on standard output, which a reader could not seek in.
    """
    if target is None:
        if file_format == "parquet":
            raise InvalidInput("--output is needed for parquet", field="output")
        yield sys.stdout.buffer
        return
    if target.exists() and not force:
        raise InvalidInput(
            f"{target} is there already: --force writes over it", field="output", value=str(target)
        )
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except TimeoutError:
        # an OSError, but of the database
        raise
    except OSError as error:
        raise InvalidInput(
            f"{target} cannot be written: {error}", field="output", value=str(target)
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


async def export_series(
    database: Database,
    space_ids: Sequence[str],
    question: SeriesQuestion,
    tz: tzinfo,
    file: BinaryIO,
    file_format: Format,
    report: Report,
) -> int:
    """Write the series of spaces one after the other, times of texts in `tz`; gives the number of rows.

    Raises NotFound where there is no such space, InvalidInput for what the question may not hold.
    """
    parts = []
    for space_id in dict.fromkeys(space_ids):
        await find_space(database, DEFAULT_ORGANIZATION, space_id)
        parts.append(series_rows(database, Scope(DEFAULT_ORGANIZATION, [space_id]), question))
    span = (question.start, question.end)
    return await _write(file, file_format, SERIES, tz, _reported(parts, span, report))


async def export_events(
    database: Database,
    space_ids: Sequence[str],
    question: EventsQuestion,
    tz: tzinfo,
    file: BinaryIO,
    file_format: Format,
    report: Report,
) -> int:
    """Write the crossings that touched spaces, one space after the other, times of texts in `tz`.

    Gives the number of rows. Raises NotFound where there is no such space.
    """
    parts = []
    for space_id in dict.fromkeys(space_ids):
        space = await find_space(database, DEFAULT_ORGANIZATION, space_id)
        parts.append(rows_of_space(space_id, events_of_space(database, space.id, question)))
    span = (question.start, question.end)
    return await _write(file, file_format, EVENTS_OF_SPACE, tz, _reported(parts, span, report))


async def _write(
    file: BinaryIO, file_format: Format, table: Table, tz: tzinfo, pages: AsyncIterator[Sequence[Row]]
) -> int:
    rows = 0

    async def counted() -> AsyncIterator[Sequence[Row]]:
        nonlocal rows
        async for page in pages:
            rows += len(page)
            yield page

    async for piece in encoded(file_format, table, tz, counted()):
        file.write(piece)
    return rows


async def _reported(
    parts: Sequence[AsyncIterator[list[Row]]], span: tuple[datetime, datetime], report: Report
) -> AsyncIterator[Sequence[Row]]:
    """The pages of all parts; how far they are, as a share from 0 to 1, is reported behind each."""
    start, end = span
    for number, pages in enumerate(parts):
        async for page in pages:
            yield page
            # the instant of a row is in the second column of every table
            reached = (page[-1][1] - start) / (end - start) if page else 0.0
            report((number + min(max(reached, 0.0), 1.0)) / len(parts))
    report(1.0)
