"""The tables of the metadata as Python sees them: only the mapping. `sql/tables/` defines them.

An instant that may be unbounded is None in Python and an infinity in SQL, so that comparisons in SQL need no
special case.
"""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any, ClassVar, Literal

from sqlalchemy import Column, DateTime, Dialect, Identity, Integer, Text
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

# The side of a doorway on which a DPU hangs.
Facing = Literal["a", "b"]

# asyncpg writes these two as -infinity and infinity, and reads those as these two without a time zone.
SINCE_EVER = datetime.min.replace(tzinfo=UTC)
FOR_EVER = datetime.max.replace(tzinfo=UTC)


class Bound(TypeDecorator[datetime]):
    """A timestamptz whose infinity, -infinity or infinity as `unbounded` says, is None in Python."""

    impl = DateTime(timezone=True)
    cache_ok = True
    # SQLAlchemy would write a None of its own as NULL.
    should_evaluate_none = True

    def __init__(self, unbounded: datetime) -> None:
        super().__init__()
        self.unbounded = unbounded

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime:  # noqa: ARG002
        """What goes into SQL."""
        return self.unbounded if value is None else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """What comes out of SQL; None also where an outer join found no row."""
        return None if value is None or value.replace(tzinfo=UTC) == self.unbounded else value


def _key() -> Any:
    """The internal number of a row, given by the database; callers know rows by their own ids."""
    return Field(default=None, sa_column=Column(Integer, Identity(always=True), primary_key=True))


class _Table(SQLModel):
    __table_args__: ClassVar[dict[str, str]] = {"schema": "occupancy"}


class Organization(_Table, table=True):
    """Who owns spaces, doorways and DPUs."""

    __tablename__ = "organization"

    id: int = _key()
    organization_id: str
    name: str


class Space(_Table, table=True):
    """A node of the tree of spaces; `parent` is the internal number of the space around it."""

    __tablename__ = "space"

    id: int = _key()
    organization: int
    space_id: str
    parent: int | None = None
    name: str
    kind: str = "space"
    time_zone: str = "UTC"
    capacity: int | None = None
    reset_at: time | None = None


class Doorway(_Table, table=True):
    """Joins two sides, each the internal number of a space, or None: outside."""

    __tablename__ = "doorway"

    id: int = _key()
    organization: int
    doorway_id: str
    name: str
    side_a: int | None = None
    side_b: int | None = None


class Dpu(_Table, table=True):
    """A depth sensor."""

    __tablename__ = "dpu"

    id: int = _key()
    organization: int
    dpu_id: str
    name: str


class Placement(_Table, table=True):
    """A DPU hangs over a doorway facing side 'a' or 'b' while `valid_from` <= time < `valid_to`.

    None: since ever, and open.
    """

    __tablename__ = "placement"

    id: int = _key()
    organization: int
    dpu: int
    doorway: int
    facing: Facing = Field(sa_column=Column(Text, nullable=False))
    valid_from: datetime | None = Field(default=None, sa_column=Column(Bound(SINCE_EVER), nullable=False))
    valid_to: datetime | None = Field(default=None, sa_column=Column(Bound(FOR_EVER), nullable=False))


class Reset(_Table, table=True):
    """The count of a space was `count` at `at`."""

    __tablename__ = "reset"

    id: int = _key()
    space: int
    at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    count: int
    reason: str
