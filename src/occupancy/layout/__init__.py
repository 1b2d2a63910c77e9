"""Layout documents: declare spaces, doorways, DPUs and placements at once, as often as one likes.

    spaces:   [{space_id, name?, kind?, parent_id?, time_zone?, capacity?, reset_at?: "HH:MM"}]
    doorways: [{doorway_id, name?, side_a: space_id or null, side_b: space_id or null}]
    dpus:     [{dpu_id, name?, placements?: [{doorway_id, facing: a or b, from: time or null, to?: same}]}]

What a document does not name is left alone; but the placements of a DPU, where listed, are all it has.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from occupancy.errors import InvalidInput
from occupancy.layout.differences import Change, differences
from occupancy.layout.document import LayoutDocument, parse, read_yaml, write_yaml
from occupancy.layout.stored import read, write
from occupancy.topology import Topology
from occupancy.topology.store import unknown_time_zones

__all__ = ["Change", "Layout", "LayoutDocument", "differences", "parse", "read_yaml", "write_yaml"]


class Layout:
    """The layout of the organization that a Topology is about."""

    def __init__(self, topology: Topology) -> None:
        self._store = topology.store

    async def plan(self, document: object) -> list[Change]:
        """What apply() would change now: none if the document is in force. `document` is dicts and lists.

        Raises InvalidInput and UnknownReference, whose field is a path like `doorways[3].side_a`.
        """
        wanted = parse(document)
        async with self._store.read() as session:
            return await self._changes(session, wanted)

    async def apply(self, document: object) -> list[Change]:
        """Make the database say what the document says, all of it or nothing, and return what has changed.

        What is as it should be is not written again, so that no history is counted anew without need.
        Raises as plan() does.
        """
        wanted = parse(document)
        async with self._store.change() as session:
            changes = await self._changes(session, wanted)
            await write(session, self._store.organization, changes)
            return changes

    async def export(self) -> dict[str, Any]:
        """The document of all that is stored, in plain dicts and lists. Applying it changes nothing."""
        async with self._store.read() as session:
            stored = await read(session, self._store.organization)
        return stored.model_dump(mode="json", by_alias=True)

    async def _changes(self, session: AsyncSession, wanted: LayoutDocument) -> list[Change]:
        await _refuse_unknown_time_zones(session, wanted)
        dpus = [dpu.dpu_id for dpu in wanted.dpus]
        return differences(await read(session, self._store.organization, dpus), wanted)


async def _refuse_unknown_time_zones(session: AsyncSession, wanted: LayoutDocument) -> None:
    named = {space.time_zone for space in wanted.spaces if space.time_zone is not None}
    unknown = await unknown_time_zones(session, named) if named else set()
    for index, space in enumerate(wanted.spaces):
        if space.time_zone in unknown:
            field = f"spaces[{index}].time_zone"
            raise InvalidInput(
                f"{field}: {space.time_zone!r} is no IANA time zone", field=field, value=space.time_zone
            )
