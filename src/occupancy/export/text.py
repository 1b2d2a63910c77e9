"""CSV and NDJSON: rows as lines of text, each value as the JSON answers have it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from typing import Any

from occupancy.export.columns import Row, Table


class CsvEncoder:
    """Comma-separated, a header line first; a value that is missing is an empty cell."""

    def __init__(self, table: Table, tz: tzinfo) -> None:
        self._table = table
        self._values = _in_words(table, tz)

    def begin(self) -> bytes:
        """The header."""
        return _csv([[column.name for column in self._table.columns]])

    def page(self, rows: Sequence[Row]) -> bytes:
        """A line for each row."""
        return _csv([self._values(row) for row in rows])

    def end(self) -> bytes:
        """Nothing: the last line is the end."""
        return b""


class NdjsonEncoder:
    """A JSON object on each line."""

    def __init__(self, table: Table, tz: tzinfo) -> None:
        self._names = [column.name for column in table.columns]
        self._values = _in_words(table, tz)

    def begin(self) -> bytes:
        """Nothing: the first line is the first row."""
        return b""

    def page(self, rows: Sequence[Row]) -> bytes:
        """A line for each row."""
        objects = (dict(zip(self._names, self._values(row), strict=True)) for row in rows)
        return "".join(
            json.dumps(each, ensure_ascii=False, separators=(",", ":")) + "\n" for each in objects
        ).encode()

    def end(self) -> bytes:
        """Nothing: the last line is the end."""
        return b""


def _csv(lines: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def _in_words(table: Table, tz: tzinfo) -> Callable[[Row], list[Any]]:
    instants = [column.kind == "instant" for column in table.columns]

    def words(instant: datetime) -> str:
        return instant.astimezone(tz).isoformat().replace("+00:00", "Z")

    def values(row: Row) -> list[Any]:
        return [
            words(value) if is_instant and value is not None else value
            for value, is_instant in zip(row, instants, strict=True)
        ]

    return values
