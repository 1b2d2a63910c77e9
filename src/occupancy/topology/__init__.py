"""The metadata that gives crossings a meaning: spaces, doorways, DPUs, placements and resets.

Every change is one transaction; from it the database derives what each DPU does to each space.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from occupancy.topology.doorways import DoorwayAnswer, DoorwayBody, Doorways
from occupancy.topology.dpus import DpuAnswer, DpuBody, Dpus
from occupancy.topology.placements import NewPlacement, PlacementAnswer, PlacementBody, Placements
from occupancy.topology.resets import ResetAnswer, ResetBody, Resets
from occupancy.topology.spaces import SpaceAnswer, SpaceBody, Spaces
from occupancy.topology.store import Store

__all__ = [
    "DoorwayAnswer",
    "DoorwayBody",
    "DpuAnswer",
    "DpuBody",
    "NewPlacement",
    "PlacementAnswer",
    "PlacementBody",
    "ResetAnswer",
    "ResetBody",
    "SpaceAnswer",
    "SpaceBody",
    "Topology",
]


class Topology:
    """The metadata of one organization, by nouns. `organization` is its internal number.

    Every method may raise DatabaseUnavailable.
    """

    def __init__(self, sessions: async_sessionmaker[AsyncSession], organization: int) -> None:
        self.store = Store(sessions, organization)
        self.spaces = Spaces(self.store)
        self.doorways = Doorways(self.store)
        self.dpus = Dpus(self.store)
        self.placements = Placements(self.store)
        self.resets = Resets(self.store)
