"""The layout document: what it may say, and how it is read from YAML and written to it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import pairwise
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError
from pydantic_core import ErrorDetails

from occupancy.errors import InvalidInput
from occupancy.topology.values import (
    Facing,
    Id,
    Input,
    Instant,
    Name,
    Number,
    TimeOfDay,
    for_ever,
    since_ever,
)

_Entry = TypeVar("_Entry", bound=Input)


def _whole_number(value: object) -> object:
    """read_yaml() leaves numbers as text, because an id may look like one."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _nothing_is_an_empty_list(value: object) -> object:
    """`doorways:` with nothing behind it."""
    return [] if value is None else value


_Instant = Annotated[Instant, PlainSerializer(lambda value: value.isoformat().replace("+00:00", "Z"))]
_ListOf = Annotated[list[_Entry], BeforeValidator(_nothing_is_an_empty_list)]


class SpaceEntry(Input):
    """A space. What is left out keeps its value, or gets the usual one where the space is new."""

    space_id: Id
    name: Name | None = None
    kind: Name | None = None
    parent_id: Id | None = None
    time_zone: Name | None = None
    capacity: Annotated[Number | None, BeforeValidator(_whole_number)] = None
    reset_at: TimeOfDay | None = None


class DoorwayEntry(Input):
    """A doorway; both sides are named, null is outside."""

    doorway_id: Id
    name: Name | None = None
    side_a: Id | None
    side_b: Id | None


class PlacementEntry(Input):
    """A DPU hangs over a doorway: `from` null is since ever, `to` null or left out is open."""

    doorway_id: Id
    facing: Facing
    valid_from: _Instant | None = Field(alias="from")
    valid_to: _Instant | None = Field(default=None, alias="to")


class DpuEntry(Input):
    """A DPU with all its placements; if the key is left out, they stay as they are."""

    dpu_id: Id
    name: Name | None = None
    placements: _ListOf[PlacementEntry] = Field(default_factory=list)


class LayoutDocument(Input):
    """Spaces, doorways and DPUs. What it does not name is left alone."""

    spaces: _ListOf[SpaceEntry] = Field(default_factory=list)
    doorways: _ListOf[DoorwayEntry] = Field(default_factory=list)
    dpus: _ListOf[DpuEntry] = Field(default_factory=list)


def parse(document: object) -> LayoutDocument:
    """Check a document that consists of dicts and lists, as YAML and JSON give them.

    Raises InvalidInput whose field is the path, like `doorways[3].side_a`, and whose value is what is there.
    """
    try:
        layout = LayoutDocument.model_validate({} if document is None else document)
    except ValidationError as error:
        raise _invalid(error.errors()) from error
    _refuse_repeated(layout)
    for index, doorway in enumerate(layout.doorways):
        if doorway.side_a == doorway.side_b:
            raise InvalidInput(
                f"doorways[{index}].side_b: a doorway joins two different sides",
                field=f"doorways[{index}].side_b",
                value=doorway.side_b,
            )
    for index, dpu in enumerate(layout.dpus):
        _refuse_overlaps(f"dpus[{index}].placements", dpu.placements)
    return layout


def read_yaml(text: str) -> Any:
    """The dicts, lists, texts and nulls in a YAML (or JSON) text, for parse().

    Plain words and numbers stay the text they are: an id like 0423 or a time like 12:30 needs no quotes.
    Raises InvalidInput where it is not YAML, or says a key twice.
    """
    try:
        return yaml.load(text, _TextLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidInput(f"not YAML: {error}", field="layout") from error


def write_yaml(document: object) -> str:
    """A document as YAML."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


class _TextLoader(yaml.SafeLoader):
    """Takes every plain scalar but null as text, and no key twice."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - PyYAML's own way

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping; the last of two equal keys would silently win."""
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key is said twice", node.start_mark)
        return mapping


_TextLoader.yaml_implicit_resolvers = {
    first: nulls
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    if (nulls := [resolver for resolver in resolvers if resolver[0] == "tag:yaml.org,2002:null"])
}


def _invalid(faults: list[ErrorDetails]) -> InvalidInput:
    first = faults[0]
    path = _path(first["loc"])
    detail = f"{path}: {first['msg']}"
    if first["type"] == "string_type" and isinstance(first["input"], int):
        detail += "; put it in quotes"
    if len(faults) > 1:
        detail += f" (and {len(faults) - 1} more)"
    return InvalidInput(detail, field=path, value=None if first["type"] == "missing" else first["input"])


def _path(location: Iterable[int | str]) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".") or "layout"


def _refuse_repeated(layout: LayoutDocument) -> None:
    _refuse_repeated_ids("spaces", "space_id", [space.space_id for space in layout.spaces])
    _refuse_repeated_ids("doorways", "doorway_id", [doorway.doorway_id for doorway in layout.doorways])
    _refuse_repeated_ids("dpus", "dpu_id", [dpu.dpu_id for dpu in layout.dpus])


def _refuse_repeated_ids(section: str, key: str, ids: list[str]) -> None:
    first_place: dict[str, int] = {}
    for index, given in enumerate(ids):
        if first_place.setdefault(given, index) != index:
            field = f"{section}[{index}].{key}"
            raise InvalidInput(
                f"{field}: {given!r} stands at {section}[{first_place[given]}] already",
                field=field,
                value=given,
            )


def _refuse_overlaps(path: str, placements: list[PlacementEntry]) -> None:
    in_order = sorted(enumerate(placements), key=lambda numbered: since_ever(numbered[1].valid_from))
    for index, placement in in_order:
        if not since_ever(placement.valid_from) < for_ever(placement.valid_to):
            raise InvalidInput(
                f"{path}[{index}].to: a placement ends after it begins",
                field=f"{path}[{index}].to",
                value=placement.model_dump()["valid_to"],
            )
    for (_, earlier), (index, later) in pairwise(in_order):
        if since_ever(later.valid_from) < for_ever(earlier.valid_to):
            raise InvalidInput(
                f"{path}[{index}].from: another placement of this DPU holds in that time",
                field=f"{path}[{index}].from",
                value=later.model_dump()["valid_from"],
            )
