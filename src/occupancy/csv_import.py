"""Events from a CSV file, in batches: constant memory, and nothing twice however often it runs."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from occupancy.database import DEFAULT_ORGANIZATION, Database
from occupancy.errors import InvalidInput
from occupancy.parse import parse_events
from occupancy.settings import Settings

_REQUIRED = ("timestamp", "direction", "dpu_id")
_ROWS_PER_BATCH = 5_000
_EXAMPLES = 5

Report = Callable[[int], None]


@dataclass(slots=True)
class Imported:
    """What became of the rows of a file: counts by outcome, and the first few rejected ones by line number."""

    accepted: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)


async def import_csv(database: Database, settings: Settings, path: Path, report: Report) -> Imported:
    """Store every event of the file; columns timestamp, direction, dpu_id and optionally seq, in any order.

    Each batch is committed by itself, so an import that was cut off is finished by running it again. `report` gets the
    number of bytes read so far. Raises InvalidInput if a column is missing or the file is not CSV in UTF-8.
    """
    imported = Imported()
    with path.open("rb") as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
        for batch in _batches(file, path):
            clock = settings.clock()
            parsed = parse_events((row for _, row in batch), clock)
            result = await database.ingest(DEFAULT_ORGANIZATION, parsed)
            imported.accepted += result.accepted
            imported.duplicates += result.duplicates
            for event in result.rejected:
                imported.rejected[event.code] += 1
                if len(imported.examples) < _EXAMPLES:
                    imported.examples.append(f"line {batch[event.index][0]}: {event.code}: {event.detail}")
            report(raw.tell())
    return imported


def _batches(file: TextIO, path: Path) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    reader = csv.DictReader(file)
    try:
        missing = [name for name in _REQUIRED if name not in (reader.fieldnames or [])]
        if missing:
            header = ", ".join(reader.fieldnames or []) or "none"
            raise InvalidInput(
                f"{path}: column {missing[0]} is missing; the file has: {header}", field=missing[0]
            )
        rows = ((reader.line_num, _document(row)) for row in reader)
        while batch := list(itertools.islice(rows, _ROWS_PER_BATCH)):
            yield batch
    except (csv.Error, UnicodeDecodeError) as error:
        detail = f"{path}, line {reader.line_num + 1}: not CSV in UTF-8: {error}"
        raise InvalidInput(detail, field="file", value=str(path)) from error


def _document(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the JSON event it stands for; cells that are no whole numbers stay text and are judged as such."""
    document: dict[str, Any] = {name: row[name] for name in _REQUIRED}
    document["direction"] = _whole_number(document["direction"])
    if row.get("seq"):
        document["seq"] = _whole_number(row["seq"])
    return document


def _whole_number(cell: str | None) -> Any:
    try:
        number = json.loads(cell or "")
    except ValueError:
        return cell
    return number if type(number) is int else cell
