"""Resets: statements about how many people were in a space at an instant."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlmodel import col

from occupancy.errors import NotFound
from occupancy.models import Reset, Space
from occupancy.topology.store import Store, clock
from occupancy.topology.values import Input, Instant, Note, Number


class ResetBody(Input):
    """The count of a space was `count` at `at`."""

    at: Instant | None = Field(default=None, description="The instant; now if left out or null.")
    count: Number = Field(default=0, description="People in the space at that instant.")
    reason: Note = Field(default="", description="For people: who counted, or why.")


class ResetAnswer(BaseModel):
    """A reset as it is stored."""

    reset_id: int = Field(description="Given by the service.")
    at: datetime = Field(description="The instant, in UTC.")
    count: int = Field(description="People in the space at that instant.")
    reason: str = Field(description="For people: who counted, or why.")


class Resets:
    """The resets of the spaces of an organization. A daily reset is a rule of its space, not one of them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, space_id: str, body: ResetBody) -> ResetAnswer:
        """State a count; raises NotFound for the space, Conflict if there is a reset at that very instant."""
        async with self._store.change(body.model_dump(mode="json")) as session:
            space = await self._store.existing(session, Space, space_id)
            at = body.at or await clock(session)
            reset = Reset(space=space.id, at=at, count=body.count, reason=body.reason)
            session.add(reset)
            await session.flush()
            return _answer(reset)

    async def list(
        self,
        space_id: str,
        *,
        before: datetime | None = None,
        limit: int = 100,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> list[ResetAnswer]:
        """At most `limit` resets, the newest first, at instants before `before` and in [start, end).

        Raises NotFound for the space.
        """
        async with self._store.read() as session:
            space = await self._store.existing(session, Space, space_id)
            query = (
                select(Reset).where(col(Reset.space) == space.id).order_by(col(Reset.at).desc()).limit(limit)
            )
            if start is not None:
                query = query.where(col(Reset.at) >= start)
            for bound in (before, end):
                if bound is not None:
                    query = query.where(col(Reset.at) < bound)
            query = query.order_by(col(Reset.at).desc()).limit(limit)
            return [_answer(reset) for reset in await session.scalars(query)]

    async def delete(self, space_id: str, reset_id: int) -> None:
        """Take a statement back; raises NotFound."""
        async with self._store.change() as session:
            space = await self._store.existing(session, Space, space_id)
            reset = await session.get(Reset, reset_id)
            if reset is None or reset.space != space.id:
                raise NotFound(
                    f"space {space_id!r} has no reset {reset_id}", field="reset_id", value=reset_id
                )
            await session.delete(reset)


def _answer(reset: Reset) -> ResetAnswer:
    return ResetAnswer(reset_id=reset.id, at=reset.at, count=reset.count, reason=reset.reason)
