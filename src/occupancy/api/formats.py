"""Answers as files: CSV, NDJSON and Parquet beside JSON, streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import tzinfo
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from occupancy.export.columns import Row, Table
from occupancy.export.encoder import MEDIA_TYPES, Format, encoded

_FORMATS: dict[str, Format] = {media_type: file_format for file_format, media_type in MEDIA_TYPES.items()}

FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page as JSON, or the whole range as a file: `Accept` or `format` says which.",
        "content": {
            media_type: {"schema": {"type": "string", **({"format": "binary"} if name == "parquet" else {})}}
            for media_type, name in _FORMATS.items()
        },
    }
}
"""What routes that answer with files as well tell about it."""


def _wanted(
    request: Request,
    response: Response,
    file_format: Annotated[
        Literal["json", "csv", "ndjson", "parquet"] | None,
        Query(
            alias="format",
            description="Rather than by the header `Accept`: `json` is a page, the others are the whole range as a "
            "file, streamed; `limit` does not count then. A file that was cut off has no proper end: the "
            "connection breaks.",
        ),
    ] = None,
) -> Format | None:
    """The file that the caller wants, None for JSON."""
    response.headers["Vary"] = "Accept"
    if file_format is not None:
        return None if file_format == "json" else file_format
    return _accepted(",".join(request.headers.getlist("accept")))


WantedFormat: TypeAlias = Annotated[Format | None, Depends(_wanted)]


async def streamed(
    file_format: Format, table: Table, tz: tzinfo, pages: AsyncIterator[Sequence[Row]]
) -> StreamingResponse:
    """A file of all pages, read as they are sent. What `pages` raises at first is raised before the file begins.

    Later, all that can be done is to break the connection: the server does so when the body ends in an error.
    """
    first = await anext(pages)

    async def all_of_them() -> AsyncIterator[Sequence[Row]]:
        yield first
        async for page in pages:
            yield page

    return StreamingResponse(
        encoded(file_format, table, tz, all_of_them()),
        media_type=MEDIA_TYPES[file_format],
        headers={
            "Vary": "Accept",
            "Content-Disposition": f'attachment; filename="{table.name}.{file_format}"',
        },
    )


def _accepted(header: str) -> Format | None:
    """The best of what an Accept header names; None for JSON, and for what the service does not have."""
    best, best_quality = None, 0.0
    for part in header.split(","):
        media_type, *parameters = (word.strip().lower() for word in part.split(";"))
        quality = _quality(parameters)
        if quality > best_quality and (media_type in _FORMATS or media_type in {"application/json", "*/*"}):
            best, best_quality = media_type, quality
    return None if best is None else _FORMATS.get(best)


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter.removeprefix("q="))
            except ValueError:
                return 0.0
    return 1.0
