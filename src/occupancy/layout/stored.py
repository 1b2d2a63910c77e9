"""The layout that is in the database: reading it, and making changes to it, many rows in each statement.

Rows go in as one JSON parameter, so that their number is not bounded and triggers run once for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby

from sqlalchemy import ARRAY, Text, any_, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from occupancy.layout.differences import Change, Values
from occupancy.layout.document import DoorwayEntry, DpuEntry, LayoutDocument, PlacementEntry, SpaceEntry
from occupancy.layout.placements import Hung, Steps, steps
from occupancy.models import Doorway, Dpu, Placement, Space

_SPACES = """
  FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS new (
    space_id text, parent_id text, name text, kind text, time_zone text, capacity integer, reset_at time
  )
  LEFT JOIN occupancy.space AS parent
    ON parent.organization = :organization AND parent.space_id = new.parent_id
"""
_INSERT_SPACES = f"""
  INSERT INTO occupancy.space (organization, space_id, parent, name, kind, time_zone, capacity, reset_at)
  SELECT :organization, new.space_id, parent.id, new.name, new.kind, new.time_zone, new.capacity, new.reset_at
  {_SPACES}
"""
# All in one statement: two spaces may change places, and only the end of it is free of cycles.
_UPDATE_SPACES = f"""
  UPDATE occupancy.space
  SET parent = parent.id, name = new.name, kind = new.kind, time_zone = new.time_zone,
    capacity = new.capacity, reset_at = new.reset_at
  {_SPACES}
  WHERE space.organization = :organization AND space.space_id = new.space_id
"""
_DOORWAYS = """
  FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS new (doorway_id text, name text, side_a text, side_b text)
  LEFT JOIN occupancy.space AS a ON a.organization = :organization AND a.space_id = new.side_a
  LEFT JOIN occupancy.space AS b ON b.organization = :organization AND b.space_id = new.side_b
"""
_INSERT_DOORWAYS = f"""
  INSERT INTO occupancy.doorway (organization, doorway_id, name, side_a, side_b)
  SELECT :organization, new.doorway_id, new.name, a.id, b.id
  {_DOORWAYS}
"""
_UPDATE_DOORWAYS = f"""
  UPDATE occupancy.doorway
  SET name = new.name, side_a = a.id, side_b = b.id
  {_DOORWAYS}
  WHERE doorway.organization = :organization AND doorway.doorway_id = new.doorway_id
"""
_INSERT_DPUS = """
  INSERT INTO occupancy.dpu (organization, dpu_id, name)
  SELECT :organization, new.dpu_id, new.name
  FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS new (dpu_id text, name text)
"""
_UPDATE_DPUS = """
  UPDATE occupancy.dpu
  SET name = new.name
  FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS new (dpu_id text, name text)
  WHERE dpu.organization = :organization AND dpu.dpu_id = new.dpu_id
"""
# A DPU has no two placements that begin at one instant.
_DELETE_PLACEMENTS = """
  DELETE FROM occupancy.placement
  USING jsonb_to_recordset(CAST(:rows AS jsonb)) AS old (dpu_id text, began timestamptz)
  JOIN occupancy.dpu ON dpu.organization = :organization AND dpu.dpu_id = old.dpu_id
  WHERE placement.dpu = dpu.id AND placement.valid_from = coalesce(old.began, '-infinity')
"""
_PLACEMENTS = """
  FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS new (
    dpu_id text, began timestamptz, doorway_id text, facing text, valid_from timestamptz, valid_to timestamptz
  )
  JOIN occupancy.dpu ON dpu.organization = :organization AND dpu.dpu_id = new.dpu_id
  JOIN occupancy.doorway ON doorway.organization = :organization AND doorway.doorway_id = new.doorway_id
"""
_UPDATE_PLACEMENTS = f"""
  UPDATE occupancy.placement
  SET doorway = doorway.id, facing = new.facing,
    valid_from = coalesce(new.valid_from, '-infinity'), valid_to = coalesce(new.valid_to, 'infinity')
  {_PLACEMENTS}
  WHERE placement.dpu = dpu.id AND placement.valid_from = coalesce(new.began, '-infinity')
"""
_INSERT_PLACEMENTS = f"""
  INSERT INTO occupancy.placement (organization, dpu, doorway, facing, valid_from, valid_to)
  SELECT :organization, dpu.id, doorway.id, new.facing,
    coalesce(new.valid_from, '-infinity'), coalesce(new.valid_to, 'infinity')
  {_PLACEMENTS}
"""


async def read(
    session: AsyncSession, organization: int, only_dpus: Collection[str] | None = None
) -> LayoutDocument:
    """The stored layout, all of it, or no other DPUs than these. Parents stand before what is inside them."""
    return LayoutDocument.model_construct(
        spaces=await _read_spaces(session, organization),
        doorways=await _read_doorways(session, organization),
        dpus=await _read_dpus(session, organization, only_dpus),
    )


async def _read_spaces(session: AsyncSession, organization: int) -> list[SpaceEntry]:
    query = select(Space).where(col(Space.organization) == organization).order_by(col(Space.space_id))
    spaces = {space.id: space for space in await session.scalars(query)}

    def depth(space: Space) -> int:
        above = 0
        while space.parent is not None:
            space = spaces[space.parent]
            above += 1
        return above

    return [
        SpaceEntry.model_construct(
            space_id=space.space_id,
            name=space.name,
            kind=space.kind,
            parent_id=spaces[space.parent].space_id if space.parent else None,
            time_zone=space.time_zone,
            capacity=space.capacity,
            reset_at=space.reset_at,
        )
        for space in sorted(spaces.values(), key=depth)
    ]


async def _read_doorways(session: AsyncSession, organization: int) -> list[DoorwayEntry]:
    a, b = aliased(Space), aliased(Space)
    query = (
        select(col(Doorway.doorway_id), col(Doorway.name), col(a.space_id), col(b.space_id))
        .outerjoin(a, col(a.id) == col(Doorway.side_a))
        .outerjoin(b, col(b.id) == col(Doorway.side_b))
        .where(col(Doorway.organization) == organization)
        .order_by(col(Doorway.doorway_id))
    )
    return [
        DoorwayEntry.model_construct(doorway_id=doorway_id, name=name, side_a=side_a, side_b=side_b)
        for doorway_id, name, side_a, side_b in await session.execute(query)
    ]


async def _read_dpus(
    session: AsyncSession, organization: int, only: Collection[str] | None
) -> list[DpuEntry]:
    query = (
        select(
            col(Dpu.dpu_id),
            col(Dpu.name),
            col(Doorway.doorway_id),
            col(Placement.facing),
            col(Placement.valid_from),
            col(Placement.valid_to),
        )
        .outerjoin(Placement, col(Placement.dpu) == col(Dpu.id))
        .outerjoin(Doorway, col(Doorway.id) == col(Placement.doorway))
        .where(col(Dpu.organization) == organization)
        .order_by(col(Dpu.dpu_id), col(Placement.valid_from))
    )
    if only is not None:
        query = query.where(col(Dpu.dpu_id) == any_(bindparam(None, list(only), ARRAY(Text))))
    rows = await session.execute(query)
    return [
        DpuEntry.model_construct(
            dpu_id=dpu_id,
            name=name,
            placements=[
                PlacementEntry.model_construct(
                    doorway_id=doorway_id, facing=facing, valid_from=start, valid_to=end
                )
                for _, _, doorway_id, facing, start, end in of_one
                if doorway_id is not None
            ],
        )
        for (dpu_id, name), of_one in groupby(rows, key=lambda row: (row[0], row[1]))
    ]


async def write(session: AsyncSession, organization: int, changes: Sequence[Change]) -> None:
    """Make the changes, which differences() found in what read() returned in this transaction."""

    async def run(statement: str, rows: Iterable[Values]) -> None:
        if listed := list(rows):
            await session.execute(
                text(statement), {"organization": organization, "rows": json.dumps(listed, default=_json)}
            )

    for generation in _generations(changes):
        await run(_INSERT_SPACES, generation)
    await run(_UPDATE_SPACES, _new(changes, "space", "move", "update"))
    await run(_INSERT_DOORWAYS, _new(changes, "doorway", "create"))
    await run(_UPDATE_DOORWAYS, _new(changes, "doorway", "update"))
    await run(_INSERT_DPUS, _new(changes, "dpu", "create"))
    await run(_UPDATE_DPUS, _new(changes, "dpu", "update"))

    placed = list(_placement_steps(changes))
    await run(_DELETE_PLACEMENTS, (_row(dpu, old, old) for dpu, todo in placed for old in todo.removed))
    for moment in ("shrunk", "rehung"):
        pairs = ((dpu, pair) for dpu, todo in placed for pair in getattr(todo, moment))
        await run(_UPDATE_PLACEMENTS, (_row(dpu, old, new) for dpu, (old, new) in pairs))
    await run(_INSERT_PLACEMENTS, (_row(dpu, new, new) for dpu, todo in placed for new in todo.added))


def _new(changes: Iterable[Change], kind: str, *actions: str) -> Iterator[Values]:
    return (
        change.new
        for change in changes
        if change.kind == kind and change.action in actions and change.new is not None
    )


def _generations(changes: Iterable[Change]) -> Iterator[list[Values]]:
    """The new spaces, parents before children; those of one list can be inserted at once."""
    waiting = list(_new(changes, "space", "create"))
    while waiting:
        missing = {space["space_id"] for space in waiting}
        yield [space for space in waiting if space["parent_id"] not in missing]
        waiting = [space for space in waiting if space["parent_id"] in missing]


def _placement_steps(changes: Iterable[Change]) -> Iterator[tuple[str, Steps]]:
    placements = (change for change in changes if change.kind == "placement")
    for dpu_id, of_one in groupby(placements, key=lambda change: change.id):
        yield dpu_id, steps((_hung(change.old), _hung(change.new)) for change in of_one)


def _hung(values: Values | None) -> Hung | None:
    return (
        None if values is None else Hung(values["doorway_id"], values["facing"], values["from"], values["to"])
    )


def _row(dpu_id: str, old: Hung, new: Hung) -> Values:
    return {
        "dpu_id": dpu_id,
        "began": old.start,
        "doorway_id": new.doorway_id,
        "facing": new.facing,
        "valid_from": new.start,
        "valid_to": new.end,
    }


def _json(value: datetime) -> str:
    """JSON has no instants."""
    return value.isoformat()
