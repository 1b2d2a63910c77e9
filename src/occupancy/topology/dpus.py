"""DPUs: the sensors themselves. Where each hangs is a placement."""

from __future__ import annotations

from pydantic import BaseModel, Field
from sqlalchemy import Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from occupancy.models import Doorway, Dpu, Placement
from occupancy.topology import placements
from occupancy.topology.placements import PlacementAnswer
from occupancy.topology.store import Store
from occupancy.topology.values import Input, Name


class DpuBody(Input):
    """A DPU as callers give it."""

    name: Name | None = Field(default=None, description="For people; the dpu_id if left out.")


class DpuAnswer(BaseModel):
    """A DPU as it is stored."""

    dpu_id: str = Field(description="The caller's own id: the serial number.")
    name: str = Field(description="For people.")
    placement: PlacementAnswer | None = Field(description="Where it hangs now; null: nowhere.")


class Dpus:
    """The DPUs of an organization."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def put(self, dpu_id: str, body: DpuBody) -> tuple[DpuAnswer, bool]:
        """Create the DPU or rename it; says whether it is new. Its placements stay."""
        async with self._store.change(body.model_dump()) as session:
            dpu = await self._store.find(session, Dpu, dpu_id)
            is_new = dpu is None
            name = body.name or dpu_id
            dpu = dpu or Dpu(organization=self._store.organization, dpu_id=dpu_id, name=name)
            dpu.name = name
            session.add(dpu)
            await session.flush()
            (answer,) = await _answers(session, self._with_current_placement().where(col(Dpu.id) == dpu.id))
            return answer, is_new

    async def get(self, dpu_id: str) -> DpuAnswer:
        """The DPU with its current placement; raises NotFound."""
        async with self._store.read() as session:
            dpu = await self._store.existing(session, Dpu, dpu_id)
            (answer,) = await _answers(session, self._with_current_placement().where(col(Dpu.id) == dpu.id))
            return answer

    async def list(self, *, after: str | None = None, limit: int = 100) -> list[DpuAnswer]:
        """At most `limit` DPUs in the order of their ids, those behind the id `after`."""
        query = self._with_current_placement().order_by(col(Dpu.dpu_id)).limit(limit)
        if after is not None:
            query = query.where(col(Dpu.dpu_id) > after)
        async with self._store.read() as session:
            return await _answers(session, query)

    def _with_current_placement(self) -> Select[Dpu, Placement, str]:
        holds_now = and_(
            col(Placement.dpu) == col(Dpu.id),
            col(Placement.valid_from) <= func.clock_timestamp(),
            col(Placement.valid_to) > func.clock_timestamp(),
        )
        return (
            select(Dpu, Placement, col(Doorway.doorway_id))
            .outerjoin(Placement, holds_now)
            .outerjoin(Doorway, col(Doorway.id) == col(Placement.doorway))
            .where(col(Dpu.organization) == self._store.organization)
        )


async def _answers(session: AsyncSession, query: Select[Dpu, Placement, str]) -> list[DpuAnswer]:
    return [
        DpuAnswer(
            dpu_id=dpu.dpu_id,
            name=dpu.name,
            # null where the outer join found none
            placement=placements.answer(placement, doorway_id) if placement else None,
        )
        for dpu, placement, doorway_id in await session.execute(query)
    ]
