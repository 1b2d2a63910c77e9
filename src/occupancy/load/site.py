"""The site whose DPUs make the load: which DPU counts for which space, and how it is declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from occupancy.database import Database
from occupancy.errors import InvalidInput

DPUS_PER_ROOM = 4
ROOMS_PER_FLOOR = 10
_LONGEST_PREFIX = 100
_DPUS_PER_TRANSACTION = 20_000
_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Site:
    """Rooms with four doors each that lead outside, ten rooms to a floor, a DPU above each door.

    DPUs, rooms and floors are numbered from 0. A DPU with an even number hangs inside its room, one with an odd number
    outside: a `+1` of the one walks in, of the other out. Each touches two spaces, its room and its floor.
    """

    dpus: int
    prefix: str = "load"

    def __post_init__(self) -> None:
        """Raise InvalidInput for a prefix that ids cannot begin with."""
        usable = (
            self.prefix.isprintable() and self.prefix.isascii() and not set(self.prefix) & set('",\\& #?%+/')
        )
        if not (usable and 0 < len(self.prefix) <= _LONGEST_PREFIX):
            raise InvalidInput(
                "prefix: a few letters, digits, dots or dashes, that every id of the site begins with",
                field="prefix",
                value=self.prefix,
            )

    @property
    def rooms(self) -> int:
        """How many rooms there are."""
        return -(-self.dpus // DPUS_PER_ROOM)

    @property
    def floors(self) -> int:
        """How many floors there are."""
        return -(-self.rooms // ROOMS_PER_FLOOR)

    @property
    def spaces(self) -> int:
        """How many spaces there are: rooms first, then floors."""
        return self.rooms + self.floors

    def space_id(self, space: int) -> str:
        """The id of a space: rooms have the numbers up to `rooms`, floors those after it."""
        if space < self.rooms:
            return f"{self.prefix}-room-{space}"
        return f"{self.prefix}-floor-{space - self.rooms}"

    def dpu_id(self, dpu: int) -> str:
        """The id of a DPU."""
        return f"{self.prefix}-dpu-{dpu}"

    def random_space(self, random: Random, *, floor: bool) -> int:
        """Any floor, or any room."""
        return self.rooms + random.randrange(self.floors) if floor else random.randrange(self.rooms)

    def dpus_of(self, space: int) -> range:
        """The DPUs that count for a space."""
        if space < self.rooms:
            first, number = space * DPUS_PER_ROOM, DPUS_PER_ROOM
        else:
            number = DPUS_PER_ROOM * ROOMS_PER_FLOOR
            first = (space - self.rooms) * number
        return range(first, min(first + number, self.dpus))

    def spaces_of(self, dpu: int) -> tuple[int, int]:
        """The room and the floor that a DPU counts for."""
        room = dpu // DPUS_PER_ROOM
        return room, self.rooms + room // ROOMS_PER_FLOOR

    @staticmethod
    def sign(dpu: int) -> int:
        """What a `+1` of the DPU does to the counts of its room and floor: 1 or -1."""
        return -1 if dpu % 2 else 1


_FLOORS = """
INSERT INTO occupancy.space (organization, space_id, name, kind)
SELECT $1::integer, $2::text || '-floor-' || i, 'Floor ' || i, 'floor'
FROM generate_series(0, $3::integer - 1) AS i
ON CONFLICT DO NOTHING
"""
_ROOMS = f"""
INSERT INTO occupancy.space (organization, space_id, name, kind, parent)
SELECT $1::integer, $2::text || '-room-' || i, 'Room ' || i, 'room', floor.id
FROM generate_series(0, $3::integer - 1) AS i
JOIN occupancy.space AS floor
  ON floor.organization = $1 AND floor.space_id = $2 || '-floor-' || i / {ROOMS_PER_FLOOR}
ON CONFLICT DO NOTHING
"""
_DOORWAYS = f"""
INSERT INTO occupancy.doorway (organization, doorway_id, name, side_a)
SELECT $1::integer, $2::text || '-door-' || i, 'Door ' || i, room.id
FROM generate_series($3::integer, $4::integer - 1) AS i
JOIN occupancy.space AS room
  ON room.organization = $1 AND room.space_id = $2 || '-room-' || i / {DPUS_PER_ROOM}
ON CONFLICT DO NOTHING
"""
_DPUS = """
INSERT INTO occupancy.dpu (organization, dpu_id, name)
SELECT $1::integer, $2::text || '-dpu-' || i, 'DPU ' || i
FROM generate_series($3::integer, $4::integer - 1) AS i
ON CONFLICT DO NOTHING
"""
# One that was declared before stays as it is: moving it would change counts that the model has to know.
_PLACEMENTS = """
INSERT INTO occupancy.placement (organization, dpu, doorway, facing)
SELECT $1::integer, dpu.id, doorway.id, CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END
FROM generate_series($3::integer, $4::integer - 1) AS i
JOIN occupancy.dpu ON dpu.organization = $1 AND dpu.dpu_id = $2 || '-dpu-' || i
JOIN occupancy.doorway ON doorway.organization = $1 AND doorway.doorway_id = $2 || '-door-' || i
WHERE NOT EXISTS (SELECT FROM occupancy.placement AS placed WHERE placed.dpu = dpu.id)
"""


async def declare(
    database: Database, organization: int, site: Site, report: Callable[[int], None] = lambda _: None
) -> None:
    """Declare the site, by SQL and in bulk; what is there already stays. `report` gets the DPUs declared so far."""
    async with database.connection() as connection:
        await connection.execute(_FLOORS, organization, site.prefix, site.floors, timeout=_SECONDS)
        await connection.execute(_ROOMS, organization, site.prefix, site.rooms, timeout=_SECONDS)
        for first in range(0, site.dpus, _DPUS_PER_TRANSACTION):
            end = min(first + _DPUS_PER_TRANSACTION, site.dpus)
            async with connection.transaction():
                for command in (_DOORWAYS, _DPUS, _PLACEMENTS):
                    await connection.execute(command, organization, site.prefix, first, end, timeout=_SECONDS)
            report(end)
