"""Doorways: what joins two spaces, or a space and outside."""

from __future__ import annotations

from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import aliased
from sqlmodel import col

from occupancy.models import Doorway, Space
from occupancy.topology.store import Store, number
from occupancy.topology.values import Id, Input, Name


class DoorwayBody(Input):
    """A doorway as callers give it. Both sides are named, so that none is outside by mistake."""

    name: Name | None = Field(default=None, description="For people; the doorway_id if left out.")
    side_a: Id | None = Field(description="The space on side A; null: outside.")
    side_b: Id | None = Field(description="The space on side B; null: outside.")


class DoorwayAnswer(BaseModel):
    """A doorway as it is stored."""

    doorway_id: str = Field(description="The caller's own id.")
    name: str = Field(description="For people.")
    side_a: str | None = Field(description="The space on side A; null: outside.")
    side_b: str | None = Field(description="The space on side B; null: outside.")


class Doorways:
    """The doorways of an organization."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def put(self, doorway_id: str, body: DoorwayBody) -> tuple[DoorwayAnswer, bool]:
        """Create the doorway or replace what it holds; says whether it is new.

        A change of its sides corrects all of history. Raises UnknownReference for side_a and side_b, and
        InvalidInput if the sides are the same.
        """
        async with self._store.change(body.model_dump()) as session:
            side_a = await self._store.referenced(session, Space, body.side_a, "side_a")
            side_b = await self._store.referenced(session, Space, body.side_b, "side_b")
            doorway = await self._store.find(session, Doorway, doorway_id)

            is_new = doorway is None
            name = body.name or doorway_id
            doorway = doorway or Doorway(
                organization=self._store.organization, doorway_id=doorway_id, name=name
            )
            doorway.name = name
            doorway.side_a = number(side_a)
            doorway.side_b = number(side_b)
            session.add(doorway)
            return _answer(doorway, body.side_a, body.side_b), is_new

    async def get(self, doorway_id: str) -> DoorwayAnswer:
        """The doorway; raises NotFound."""
        async with self._store.read() as session:
            doorway = await self._store.existing(session, Doorway, doorway_id)
            side_a = await session.get(Space, doorway.side_a) if doorway.side_a else None
            side_b = await session.get(Space, doorway.side_b) if doorway.side_b else None
            return _answer(doorway, side_a.space_id if side_a else None, side_b.space_id if side_b else None)

    async def list(self, *, after: str | None = None, limit: int = 100) -> list[DoorwayAnswer]:
        """At most `limit` doorways in the order of their ids, those behind the id `after`."""
        side_a, side_b = aliased(Space), aliased(Space)
        query = (
            select(Doorway, col(side_a.space_id), col(side_b.space_id))
            .outerjoin(side_a, col(side_a.id) == col(Doorway.side_a))
            .outerjoin(side_b, col(side_b.id) == col(Doorway.side_b))
            .where(col(Doorway.organization) == self._store.organization)
            .order_by(col(Doorway.doorway_id))
            .limit(limit)
        )
        if after is not None:
            query = query.where(col(Doorway.doorway_id) > after)
        async with self._store.read() as session:
            return [_answer(*row) for row in await session.execute(query)]

    async def delete(self, doorway_id: str) -> None:
        """Remove the doorway; raises NotFound, and Conflict while it has placements, even past ones."""
        async with self._store.change({"doorway_id": doorway_id}) as session:
            await session.delete(await self._store.existing(session, Doorway, doorway_id))


def _answer(doorway: Doorway, side_a: str | None, side_b: str | None) -> DoorwayAnswer:
    return DoorwayAnswer(doorway_id=doorway.doorway_id, name=doorway.name, side_a=side_a, side_b=side_b)
