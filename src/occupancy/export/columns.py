"""What the columns of an exported table are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["text", "instant", "whole", "real"]
Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column by its name; an instant is an aware datetime, and every value may be missing (None)."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Table:
    """A table by its name, with its columns in order."""

    name: str
    columns: tuple[Column, ...]

    def rows(self, items: Iterable[object], *leading: str) -> list[Row]:
        """A row for each item: the same values of the leading columns, then its attributes named like the others."""
        values: Callable[[object], Row] = attrgetter(
            *(column.name for column in self.columns[len(leading) :])
        )
        return [(*leading, *values(item)) for item in items]


def _table(name: str, **kinds: Kind) -> Table:
    return Table(name, tuple(Column(column, kind) for column, kind in kinds.items()))


SERIES = _table(
    "series", space_id="text", start="instant", end="instant", seconds="real",
    first="whole", last="whole", min="whole", max="whole", mean="real", net_min="whole",
    entries="whole", exits="whole", utilization="real", peak_utilization="real",
)  # fmt: skip
EVENTS_OF_SPACE = _table(
    "events", space_id="text", timestamp="instant", dpu_id="text", doorway_id="text",
    direction="whole", effect="whole", seq="whole", received_at="instant",
)  # fmt: skip
EVENTS_OF_DPU = _table(
    "events", dpu_id="text", timestamp="instant", doorway_id="text",
    direction="whole", seq="whole", received_at="instant",
)  # fmt: skip
