"""Placements: which doorway a DPU hung over, facing which side, and when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from occupancy.errors import Conflict, InvalidInput, NotFound
from occupancy.models import Doorway, Dpu, Placement
from occupancy.topology.store import Store, clock, number
from occupancy.topology.values import Facing, Id, Input, Instant, for_ever, since_ever


class _Hung(Input):
    doorway_id: Id = Field(description="The doorway it hangs over.")
    facing: Facing = Field(description="The side it hangs on: +1 walks towards it, into that side.")


class NewPlacement(_Hung):
    """A DPU is hung over a doorway."""

    valid_from: Instant | None = Field(
        default=None,
        alias="from",
        description="First instant at which it holds. If left out: now; null: since ever.",
    )
    valid_to: Instant | None = Field(
        default=None, alias="to", description="First instant at which it no longer holds; null: open."
    )


class PlacementBody(_Hung):
    """A placement as it should have been. Both ends are named, so that none is lost by mistake."""

    valid_from: Instant | None = Field(
        alias="from", description="First instant at which it holds; null: since ever."
    )
    valid_to: Instant | None = Field(
        alias="to", description="First instant at which it no longer holds; null: open."
    )


class PlacementAnswer(BaseModel):
    """A placement as it is stored."""

    placement_id: int = Field(description="Given by the service.")
    doorway_id: str = Field(description="The doorway it hangs over.")
    facing: Facing = Field(description="The side it hangs on: +1 walks towards it, into that side.")
    valid_from: datetime | None = Field(
        serialization_alias="from", description="First instant at which it holds, in UTC; null: since ever."
    )
    valid_to: datetime | None = Field(
        serialization_alias="to", description="First instant at which it no longer holds, in UTC; null: open."
    )


class Placements:
    """The placements of the DPUs of an organization."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, dpu_id: str, new: NewPlacement) -> PlacementAnswer:
        """Hang the DPU over a doorway; its open placement, if it began earlier, ends at that instant.

        Raises NotFound for the DPU, UnknownReference for doorway_id, InvalidInput for to, and Conflict if
        another placement holds in that time.
        """
        async with self._store.change(_given(new)) as session:
            dpu = await self._store.existing(session, Dpu, dpu_id)
            placement = Placement(**await self._columns(session, dpu, new))
            if "valid_from" not in new.model_fields_set:
                placement.valid_from = await clock(session)
            _refuse_backwards(placement)
            await self._end_open_one(session, placement)
            session.add(placement)
            await session.flush()
            return answer(placement, new.doorway_id)

    async def replace(self, dpu_id: str, placement_id: int, body: PlacementBody) -> PlacementAnswer:
        """Correct a placement, past ones too: history follows.

        Raises NotFound, UnknownReference for doorway_id, InvalidInput for to, and Conflict if another
        placement holds in that time.
        """
        async with self._store.change(_given(body)) as session:
            dpu, placement = await self._existing(session, dpu_id, placement_id)
            placement.sqlmodel_update(await self._columns(session, dpu, body))
            _refuse_backwards(placement)
            await session.flush()
            return answer(placement, body.doorway_id)

    async def list(self, dpu_id: str) -> list[PlacementAnswer]:
        """All placements of the DPU, the earliest first; raises NotFound."""
        async with self._store.read() as session:
            dpu = await self._store.existing(session, Dpu, dpu_id)
            query = _with_doorways(dpu).order_by(col(Placement.valid_from))
            return [answer(*row) for row in await session.execute(query)]

    async def delete(self, dpu_id: str, placement_id: int) -> None:
        """Remove a placement: the crossings of that time count nowhere. Raises NotFound."""
        async with self._store.change() as session:
            _, placement = await self._existing(session, dpu_id, placement_id)
            await session.delete(placement)

    async def _existing(self, session: AsyncSession, dpu_id: str, placement_id: int) -> tuple[Dpu, Placement]:
        dpu = await self._store.existing(session, Dpu, dpu_id)
        placement = await session.get(Placement, placement_id)
        if placement is None or placement.dpu != dpu.id:
            raise NotFound(
                f"DPU {dpu_id!r} has no placement {placement_id}", field="placement_id", value=placement_id
            )
        return dpu, placement

    async def _columns(
        self, session: AsyncSession, dpu: Dpu, body: NewPlacement | PlacementBody
    ) -> dict[str, Any]:
        doorway = await self._store.referenced(session, Doorway, body.doorway_id, "doorway_id")
        return {
            "organization": dpu.organization,
            "dpu": dpu.id,
            "doorway": number(doorway),
            "facing": body.facing,
            "valid_from": body.valid_from,
            "valid_to": body.valid_to,
        }

    async def _end_open_one(self, session: AsyncSession, new: Placement) -> None:
        """Make room for `new`, or say which placement is in its way."""
        query = (
            _with_doorways(new)
            .where(
                col(Placement.valid_from) < for_ever(new.valid_to),
                col(Placement.valid_to) > since_ever(new.valid_from),
            )
            .order_by(col(Placement.valid_from))
        )
        for other, doorway_id in await session.execute(query):
            if other.valid_to is not None or since_ever(other.valid_from) >= since_ever(new.valid_from):
                raise Conflict(_in_the_way(other, doorway_id), field="from", value=_text(new.valid_from))
            other.valid_to = new.valid_from
        # The unit of work may write the new row first, which the old one would still contradict.
        await session.flush()


def _with_doorways(of: Dpu | Placement) -> Select[Placement, str]:
    dpu = of.id if isinstance(of, Dpu) else of.dpu
    return (
        select(Placement, col(Doorway.doorway_id))
        .join(Doorway, col(Doorway.id) == col(Placement.doorway))
        .where(col(Placement.dpu) == dpu)
    )


def _refuse_backwards(placement: Placement) -> None:
    start, end = placement.valid_from, placement.valid_to
    if for_ever(end) <= since_ever(start):
        raise InvalidInput(
            f"a placement ends after it begins, and this one begins at {_text(start)}",
            field="to",
            value=_text(end),
        )


def _in_the_way(other: Placement, doorway_id: str) -> str:
    return (
        f"the DPU hangs over doorway {doorway_id!r} from {_text(other.valid_from) or 'ever'} "
        f"to {_text(other.valid_to) or 'now on'} (placement {other.id}): "
        "change or delete that placement first"
    )


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat().replace("+00:00", "Z")


def _given(body: NewPlacement | PlacementBody) -> dict[str, Any]:
    return body.model_dump(mode="json", by_alias=True)


def answer(placement: Placement, doorway_id: str) -> PlacementAnswer:
    """What callers see of a stored placement over the doorway with this id."""
    return PlacementAnswer(
        placement_id=placement.id,
        doorway_id=doorway_id,
        facing=placement.facing,
        valid_from=placement.valid_from,
        valid_to=placement.valid_to,
    )
