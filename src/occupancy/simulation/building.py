"""A building: a tree of spaces, the doorways between them, and a sensor above each doorway.

The shape depends on the plan alone, not on the seed, so that many days can be simulated in one building.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from occupancy.simulation.clock import to_datetime

Facing = Literal["a", "b"]

BUILDING_ID = "building"


@dataclass(frozen=True)
class BuildingPlan:
    """What to build.

    Attributes:
        floors: storeys, the ground floor included.
        rooms_per_floor: rooms that open to the floor's corridor. From two on the last one is a meeting room,
            from three on the one before it is a kitchen; the others are offices.
        entrances: doorways between outside and the lobby, which is the ground floor's corridor.
        booths_per_floor: phone booths inside room 1 of each floor. A booth's doorway joins a space to its own
            parent: walking in changes the booth's count and no other.
        room_capacity: people per room.
        time_zone: IANA name, for every space.
        reset_at: local time "HH:MM" of a daily reset of every space, or None. The building is empty from
            03:00 to 06:00; a reset at another time makes the service forget people who are inside.

    Raises:
        ValueError: there would be no room or no way in, or the time zone or the reset time is none.
    """

    floors: int = 3
    rooms_per_floor: int = 6
    entrances: int = 2
    booths_per_floor: int = 1
    room_capacity: int = 12
    time_zone: str = "Europe/Berlin"
    reset_at: str | None = None

    def __post_init__(self) -> None:
        for name in ("floors", "rooms_per_floor", "entrances", "room_capacity"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.booths_per_floor < 0:
            raise ValueError(f"booths_per_floor must be at least 0, not {self.booths_per_floor}")
        if self.reset_at is not None and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", self.reset_at):
            raise ValueError(f"reset_at must be HH:MM from 00:00 to 23:59, not {self.reset_at!r}")
        try:
            ZoneInfo(self.time_zone)
        except (KeyError, OSError, ValueError) as error:
            raise ValueError(f"time_zone must be an IANA name, not {self.time_zone!r}") from error


@dataclass(frozen=True)
class Space:
    """A node of the tree. `use` is what people go there for."""

    space_id: str
    name: str
    kind: str
    parent_id: str | None
    capacity: int
    use: Literal["", "desk", "meeting", "kitchen", "booth"] = ""


@dataclass(frozen=True)
class Doorway:
    """A way between two sides; None is outside.

    People walk through from `opens_at` until just before `closes_at` (milliseconds since 1970; None: always).
    """

    doorway_id: str
    name: str
    side_a: str | None
    side_b: str | None
    opens_at: int | None = None
    closes_at: int | None = None

    def side(self, facing: Facing) -> str | None:
        """Return the space on side "a" or "b"."""
        return self.side_a if facing == "a" else self.side_b

    def beyond(self, side: str | None) -> str | None:
        """Return the space that a person who stands on `side` walks into."""
        return self.side_b if side == self.side_a else self.side_a

    def is_open(self, instant: int) -> bool:
        """Tell whether people can walk through at an instant."""
        return (self.opens_at is None or self.opens_at <= instant) and (
            self.closes_at is None or instant < self.closes_at
        )


@dataclass(frozen=True)
class Placement:
    """A sensor above a doorway, facing a side, from `start` until just before `end` (UTC; None: no bound)."""

    dpu_id: str
    doorway_id: str
    facing: Facing
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True)
class Building:
    """Spaces (parents first), doorways, and the placements as they really are."""

    spaces: tuple[Space, ...]
    doorways: tuple[Doorway, ...]
    placements: tuple[Placement, ...]

    def places(self, use: str) -> list[str]:
        """Return the ids of the spaces that people use in one way."""
        return [space.space_id for space in self.spaces if space.use == use]

    def dpu_ids(self) -> list[str]:
        """Return the sensors' ids, each once."""
        return list(dict.fromkeys(placement.dpu_id for placement in self.placements))


@dataclass(frozen=True)
class Move:
    """A sensor that was taken from a doorway that closes to one that opens at the same instant."""

    dpu_id: str
    closing: str
    opening: str
    instant: int


def construct(plan: BuildingPlan) -> Building:
    """Return the building of a plan, with one sensor above each doorway."""
    doorways = tuple(_doorways(plan))
    placements = tuple(
        Placement(_dpu_id(number), doorway.doorway_id, _facing(number))
        for number, doorway in enumerate(doorways, start=1)
    )
    return Building(tuple(_spaces(plan)), doorways, placements)


def with_moved_dpu(building: Building, instant: int) -> tuple[Building, Move]:
    """Add two temporary doorways and one sensor that is carried from the first to the second.

    Each of the two is open only while the sensor hangs above it: people in a doorway without a sensor would
    make the day impossible to measure. They join different spaces and the sensor faces different ways, so
    counting all of its events by either placement is wrong.
    """
    move = Move(_dpu_id(len(building.placements) + 1), "delivery-entrance", "breakout-door", instant)
    closing = Doorway(move.closing, "Delivery entrance, mornings", None, corridor_id(0), closes_at=instant)
    opening = Doorway(
        move.opening, "Breakout door, afternoons", corridor_id(0), room_id(0, 1), opens_at=instant
    )
    carried = (
        Placement(move.dpu_id, closing.doorway_id, "b", end=to_datetime(instant)),
        Placement(move.dpu_id, opening.doorway_id, "a", start=to_datetime(instant)),
    )
    changed = replace(
        building,
        doorways=(*building.doorways, closing, opening),
        placements=building.placements + carried,
    )
    return changed, move


def entrance_id(number: int) -> str:
    """Return the id of an entrance; entrances are counted from 1."""
    return f"entrance-{number}"


def floor_id(floor: int) -> str:
    """Return the id of a floor; 0 is the ground floor."""
    return f"floor-{floor}"


def corridor_id(floor: int) -> str:
    """Return the id of a floor's corridor; the ground floor's is the lobby."""
    return f"{floor_id(floor)}-{'corridor' if floor else 'lobby'}"


def room_id(floor: int, room: int) -> str:
    """Return the id of a room; rooms are counted from 1."""
    return f"{floor_id(floor)}-room-{room}"


def booth_id(floor: int, booth: int) -> str:
    """Return the id of a phone booth inside room 1 of a floor; booths are counted from 1."""
    return f"{room_id(floor, 1)}-booth-{booth}"


def _dpu_id(number: int) -> str:
    return f"dpu-{number:04d}"


def _facing(number: int) -> Facing:
    # In pairs, not in turns: the sides of the entrances take turns, and all entrances would get one sign.
    return "b" if (number - 1) % 4 < 2 else "a"


def _spaces(plan: BuildingPlan) -> Iterator[Space]:
    floor_capacity = plan.rooms_per_floor * plan.room_capacity
    yield Space(BUILDING_ID, "Building", "building", None, plan.floors * floor_capacity)
    for floor in range(plan.floors):
        name = f"Floor {floor}" if floor else "Ground floor"
        yield Space(floor_id(floor), name, "floor", BUILDING_ID, floor_capacity)
        yield from _spaces_of_floor(plan, floor)


def _spaces_of_floor(plan: BuildingPlan, floor: int) -> Iterator[Space]:
    corridor = f"Corridor {floor}" if floor else "Lobby"
    yield Space(corridor_id(floor), corridor, "corridor", floor_id(floor), 2 * plan.room_capacity)
    for room in range(1, plan.rooms_per_floor + 1):
        use = _use_of_room(plan, room)
        name = {"desk": "Office", "meeting": "Meeting room", "kitchen": "Kitchen"}[use]
        yield Space(
            room_id(floor, room), f"{name} {floor}.{room}", "room", floor_id(floor), plan.room_capacity, use
        )
    for booth in range(1, plan.booths_per_floor + 1):
        name = f"Phone booth {floor}.1.{booth}"
        yield Space(booth_id(floor, booth), name, "booth", room_id(floor, 1), 1, "booth")


def _use_of_room(plan: BuildingPlan, room: int) -> Literal["desk", "meeting", "kitchen"]:
    if room == plan.rooms_per_floor and room >= 2:
        return "meeting"
    if room == plan.rooms_per_floor - 1 and room >= 2:
        return "kitchen"
    return "desk"


def _doorways(plan: BuildingPlan) -> Iterator[Doorway]:
    for number in range(1, plan.entrances + 1):
        # Outside is side A of some entrances and side B of others, as nobody in the field keeps to one way.
        sides = (None, corridor_id(0)) if number % 2 else (corridor_id(0), None)
        yield Doorway(entrance_id(number), f"Entrance {number}", *sides)
    for floor in range(plan.floors):
        if floor:
            yield from _ways_up(floor - 1)
        yield from _doors_of_floor(plan, floor)


def _ways_up(floor: int) -> Iterator[Doorway]:
    for way in ("stairs", "lift"):
        name = f"{way.capitalize()} {floor} to {floor + 1}"
        yield Doorway(f"{way}-{floor}-{floor + 1}", name, corridor_id(floor), corridor_id(floor + 1))


def _doors_of_floor(plan: BuildingPlan, floor: int) -> Iterator[Doorway]:
    for room in range(1, plan.rooms_per_floor + 1):
        inside = room_id(floor, room)
        yield Doorway(f"{inside}-door", f"Door of room {floor}.{room}", corridor_id(floor), inside)
    for booth in range(1, plan.booths_per_floor + 1):
        inside = booth_id(floor, booth)
        yield Doorway(f"{inside}-door", f"Door of booth {floor}.1.{booth}", room_id(floor, 1), inside)
