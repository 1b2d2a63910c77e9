"""Spaces: the tree."""

from __future__ import annotations

from pydantic import BaseModel, Field
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from occupancy.errors import InvalidInput
from occupancy.models import Space
from occupancy.topology.store import Store, number, unknown_time_zones
from occupancy.topology.values import Id, Input, Name, Number, TimeOfDay


class SpaceBody(Input):
    """A space as callers give it."""

    name: Name | None = Field(default=None, description="For people; the space_id if left out.")
    parent_id: Id | None = Field(default=None, description="The space around it; null: at the top.")
    kind: Name = Field(default="space", description="For people and filters: campus, building, floor, room.")
    time_zone: Name | None = Field(
        default=None, description="IANA name. If left out, that of the parent, or UTC at the top."
    )
    capacity: Number | None = Field(default=None, description="People it holds; null: not known.")
    reset_at: TimeOfDay | None = Field(
        default=None,
        description="Local time of day at which it is taken to be empty, in the past too; null: never.",
    )


class SpaceAnswer(BaseModel):
    """A space as it is stored."""

    space_id: str = Field(description="The caller's own id.")
    name: str = Field(description="For people.")
    parent_id: str | None = Field(description="The space around it; null: at the top.")
    kind: str = Field(description="For people and filters: campus, building, floor, room.")
    time_zone: str = Field(description="IANA name; the daily reset and local days follow it.")
    capacity: int | None = Field(description="People it holds; null: not known.")
    reset_at: TimeOfDay | None = Field(
        description="Local time of day at which it is taken to be empty, HH:MM or HH:MM:SS; null: never."
    )


class Spaces:
    """The spaces of an organization."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def put(self, space_id: str, body: SpaceBody) -> tuple[SpaceAnswer, bool]:
        """Create the space or replace what it holds; says whether it is new.

        A change of its parent corrects all of history. Raises UnknownReference for parent_id, and
        InvalidInput for parent_id (a space inside itself) and time_zone.
        """
        async with self._store.change(body.model_dump()) as session:
            space = await self._store.find(session, Space, space_id)
            if body.parent_id == space_id:
                raise InvalidInput("a space cannot be inside itself", field="parent_id", value=space_id)
            parent = await self._store.referenced(session, Space, body.parent_id, "parent_id")
            await self._refuse_unknown_time_zone(session, body.time_zone)

            is_new = space is None
            name = body.name or space_id
            space = space or Space(organization=self._store.organization, space_id=space_id, name=name)
            space.parent = number(parent)
            space.name = name
            space.kind = body.kind
            space.time_zone = body.time_zone or (parent.time_zone if parent else "UTC")
            space.capacity = body.capacity
            space.reset_at = body.reset_at
            session.add(space)
            return _answer(space, body.parent_id), is_new

    async def get(self, space_id: str) -> SpaceAnswer:
        """The space; raises NotFound."""
        async with self._store.read() as session:
            space = await self._store.existing(session, Space, space_id)
            parent = await session.get(Space, space.parent) if space.parent else None
            return _answer(space, parent.space_id if parent else None)

    async def list(
        self,
        *,
        after: str | None = None,
        limit: int = 100,
        parent_id: str | None = None,
        kind: str | None = None,
    ) -> list[SpaceAnswer]:
        """At most `limit` spaces in the order of their ids, those behind the id `after`.

        `parent_id` keeps the spaces directly below that one, `kind` those of one kind.
        Raises UnknownReference for parent_id.
        """
        async with self._store.read() as session:
            below = await self._store.referenced(session, Space, parent_id, "parent_id")
            query = self._with_parents().limit(limit)
            if after is not None:
                query = query.where(col(Space.space_id) > after)
            if below is not None:
                query = query.where(col(Space.parent) == below.id)
            if kind is not None:
                query = query.where(col(Space.kind) == kind)
            return [_answer(space, parent) for space, parent in await session.execute(query)]

    async def delete(self, space_id: str) -> None:
        """Remove the space and its resets.

        Raises NotFound, and Conflict while spaces are below it or doorways open into it.
        """
        async with self._store.change({"space_id": space_id}) as session:
            await session.delete(await self._store.existing(session, Space, space_id))

    def _with_parents(self) -> Select[Space, str]:
        parent = aliased(Space)
        return (
            select(Space, col(parent.space_id))
            .outerjoin(parent, col(parent.id) == col(Space.parent))
            .where(col(Space.organization) == self._store.organization)
            .order_by(col(Space.space_id))
        )

    @staticmethod
    async def _refuse_unknown_time_zone(session: AsyncSession, name: str | None) -> None:
        if name is not None and await unknown_time_zones(session, [name]):
            raise InvalidInput(f"{name!r} is no IANA time zone", field="time_zone", value=name)


def _answer(space: Space, parent_id: str | None) -> SpaceAnswer:
    return SpaceAnswer(
        space_id=space.space_id,
        name=space.name,
        parent_id=parent_id,
        kind=space.kind,
        time_zone=space.time_zone,
        capacity=space.capacity,
        reset_at=space.reset_at,
    )
