"""What has to change for the stored layout to say what a document says. No database here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from occupancy.errors import InvalidInput, UnknownReference
from occupancy.layout.document import DpuEntry, LayoutDocument, PlacementEntry, SpaceEntry
from occupancy.layout.placements import Hung, paired

Values = Mapping[str, Any]
Kind = Literal["space", "doorway", "dpu", "placement"]


@dataclass(frozen=True)
class Change:
    """One thing that is created, updated, moved in the tree, or removed.

    `id` is the caller's own; that of the DPU for a placement. `old` and `new` hold all its fields as in a
    document, None where it was not there or will not be; instants are datetimes in UTC, None where unbounded.
    """

    action: Literal["create", "update", "move", "remove"]
    kind: Kind
    id: str
    old: Values | None
    new: Values | None

    @property
    def fields(self) -> dict[str, tuple[Any, Any]]:
        """The fields that differ, each with its old and its new value."""
        old, new = self.old or {}, self.new or {}
        return {
            name: (old.get(name), new.get(name))
            for name in {**old, **new}
            if name not in old or name not in new or old[name] != new[name]
        }

    def __str__(self) -> str:
        """One line for people."""
        fields = ", ".join(self._shown(name, *values) for name, values in self.fields.items())
        return f"{self.action} {self.kind} {self.id}: {fields}"

    def _shown(self, name: str, old: object, new: object) -> str:
        if self.old is None:
            return f"{name} {_text(new)}"
        return f"{name} {_text(old)}" if self.new is None else f"{name} {_text(old)} -> {_text(new)}"


def differences(stored: LayoutDocument, wanted: LayoutDocument) -> list[Change]:
    """The changes from what is stored to what is wanted, in an order in which they can be made.

    Raises UnknownReference for what neither of them holds, InvalidInput for a space inside itself; the field
    is the path in the wanted document.
    """
    _refuse_unknown(stored, wanted)
    return [
        *_changed_spaces(stored, wanted),
        *_changed_doorways(stored, wanted),
        *_changed_dpus(stored, wanted),
        *_changed_placements(stored, wanted),
    ]


def _refuse_unknown(stored: LayoutDocument, wanted: LayoutDocument) -> None:
    spaces = {space.space_id for space in (*stored.spaces, *wanted.spaces)}
    doorways = {doorway.doorway_id for doorway in (*stored.doorways, *wanted.doorways)}
    for field, given in _space_references(wanted):
        if given is not None and given not in spaces:
            raise UnknownReference(f"{field}: there is no space {given!r}", field=field, value=given)
    for index, dpu in enumerate(wanted.dpus):
        for place, placement in enumerate(dpu.placements):
            if placement.doorway_id not in doorways:
                field = f"dpus[{index}].placements[{place}].doorway_id"
                given = placement.doorway_id
                raise UnknownReference(f"{field}: there is no doorway {given!r}", field=field, value=given)


def _space_references(wanted: LayoutDocument) -> Iterator[tuple[str, str | None]]:
    for index, space in enumerate(wanted.spaces):
        yield f"spaces[{index}].parent_id", space.parent_id
    for index, doorway in enumerate(wanted.doorways):
        yield f"doorways[{index}].side_a", doorway.side_a
        yield f"doorways[{index}].side_b", doorway.side_b


def _changed_spaces(stored: LayoutDocument, wanted: LayoutDocument) -> Iterator[Change]:
    held = {space.space_id: space.model_dump() for space in stored.spaces}
    final = {**held, **{space.space_id: _final_space(space.space_id, held, space) for space in wanted.spaces}}
    ways_up = {}
    for index, space in enumerate(wanted.spaces):
        ways_up[space.space_id] = _way_up(space.space_id, final, f"spaces[{index}].parent_id")
    # Parents first: a space takes the time zone that its parent gets, and can refer to it once it is there.
    for space_id in sorted(ways_up, key=lambda given: len(ways_up[given])):
        space_now = final[space_id]
        if space_now["time_zone"] is None:
            parent = final.get(space_now["parent_id"])
            space_now["time_zone"] = parent["time_zone"] if parent else "UTC"
        yield from _change("space", space_id, held.get(space_id), space_now)


def _final_space(space_id: str, held: Mapping[str, dict[str, Any]], space: SpaceEntry) -> dict[str, Any]:
    new = {"space_id": space_id, "name": space_id, "kind": "space", "parent_id": None}
    new |= {"time_zone": None, "capacity": None, "reset_at": None}
    return {**new, **held.get(space_id, {}), **_said(space)}


def _said(entry: BaseModel) -> dict[str, Any]:
    """The fields that an entry names; a null says something only where nothing can be meant."""
    means_something = {"parent_id", "capacity", "reset_at", "side_a", "side_b"}
    said: dict[str, Any] = entry.model_dump(exclude_unset=True, exclude={"placements"})
    return {name: value for name, value in said.items() if value is not None or name in means_something}


def _way_up(space_id: str, final: Mapping[str, Values], field: str) -> list[str]:
    """The spaces around a space, the nearest first."""
    way: list[str] = []
    above = final[space_id]["parent_id"]
    while above is not None:
        if above == space_id or above in way:
            value = final[space_id]["parent_id"]
            raise InvalidInput(f"{field}: a space cannot be inside itself", field=field, value=value)
        way.append(above)
        above = final[above]["parent_id"]
    return way


def _changed_doorways(stored: LayoutDocument, wanted: LayoutDocument) -> Iterator[Change]:
    held = {doorway.doorway_id: doorway.model_dump() for doorway in stored.doorways}
    for doorway in wanted.doorways:
        given = doorway.doorway_id
        old = held.get(given)
        yield from _change(
            "doorway", given, old, {"doorway_id": given, "name": given, **(old or {}), **_said(doorway)}
        )


def _changed_dpus(stored: LayoutDocument, wanted: LayoutDocument) -> Iterator[Change]:
    held = {dpu.dpu_id: dpu.model_dump(exclude={"placements"}) for dpu in stored.dpus}
    for dpu in wanted.dpus:
        given = dpu.dpu_id
        old = held.get(given)
        yield from _change("dpu", given, old, {"dpu_id": given, "name": given, **(old or {}), **_said(dpu)})


def _changed_placements(stored: LayoutDocument, wanted: LayoutDocument) -> Iterator[Change]:
    held = {dpu.dpu_id: _hung(dpu) for dpu in stored.dpus}
    for dpu in wanted.dpus:
        if "placements" in dpu.model_fields_set:
            for before, after in paired(held.get(dpu.dpu_id, []), _hung(dpu)):
                yield from _change("placement", dpu.dpu_id, _values(before), _values(after))


def _hung(dpu: DpuEntry) -> list[Hung]:
    return [_as_hung(placement) for placement in dpu.placements]


def _as_hung(placement: PlacementEntry) -> Hung:
    return Hung(placement.doorway_id, placement.facing, placement.valid_from, placement.valid_to)


def _values(placement: Hung | None) -> dict[str, Any] | None:
    if placement is None:
        return None
    return {
        "doorway_id": placement.doorway_id,
        "facing": placement.facing,
        "from": placement.start,
        "to": placement.end,
    }


def _change(kind: Kind, given: str, old: Values | None, new: Values | None) -> Iterator[Change]:
    if old is None:
        yield Change("create", kind, given, None, new)
    elif new is None:
        yield Change("remove", kind, given, old, None)
    elif old != new:
        moved = kind == "space" and old["parent_id"] != new["parent_id"]
        yield Change("move" if moved else "update", kind, given, old, new)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return "null" if value is None else str(value)
