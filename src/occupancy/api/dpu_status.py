"""When DPUs were last heard of, and what of their events is missing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from occupancy.api.dpus import DpuIdPath
from occupancy.api.pagination import CursorQuery, LimitQuery, Page, decode_cursor, encode_cursor
from occupancy.api.times import time_range
from occupancy.database import DEFAULT_ORGANIZATION, Database
from occupancy.devices.duration import LONGEST_SILENCE, duration
from occupancy.devices.reconciliation import LONGEST_RANGE
from occupancy.devices.status import MOST_BREAKS, DpuState, DpuStatus, dpu_states, dpu_status
from occupancy.errors import InvalidInput
from occupancy.settings import Settings

router = APIRouter(tags=["devices"])

_WINDOW = timedelta(hours=24)

SinceQuery = Annotated[
    str | None,
    Query(
        description=f"Look at numbers and rejected events from this instant on, RFC 3339 with an offset, at most "
        f"{LONGEST_RANGE.days} days back; default: the last 24 hours."
    ),
]
SilentQuery = Annotated[
    str | None,
    Query(
        description="Only DPUs without a heartbeat and an event for so long: minutes, hours or days like `15m`, `2h`, "
        f"`1d`, up to {LONGEST_SILENCE.days} days."
    ),
]


class _FromState(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class LastEventAnswer(_FromState):
    """The last event of a DPU, by its own clock."""

    timestamp: datetime
    direction: int = Field(description="1: towards the DPU; -1: away from it.")
    seq: int = Field(description="The device's own number; 0 if it sent none.")
    received_at: datetime = Field(description="When the service stored it.")


class LastHeartbeatAnswer(_FromState):
    """The latest heartbeat of a DPU."""

    timestamp: datetime = Field(description="The device's clock when it sent it.")
    received_at: datetime = Field(description="The service's clock when it came in.")
    seq: int = Field(description="The number of the last event that it had; 0 if it did not say.")


class DpuStateAnswer(_FromState):
    """When a DPU was last heard of."""

    dpu_id: str
    last_event: LastEventAnswer | None = Field(description="null: none is stored.")
    last_heartbeat: LastHeartbeatAnswer | None = Field(description="null: there was none.")
    heard_at: datetime | None = Field(
        description="When any heartbeat of it last came in, also one that was older than the latest."
    )
    clock_skew_seconds: float | None = Field(
        description="The device's clock minus the service's at the latest heartbeat. The way through the network is in "
        "it: a clock that is right shows a little less than 0. null: there was no heartbeat."
    )


class SeqBreakAnswer(_FromState):
    """Two events whose numbers do not follow on one another."""

    after_seq: int = Field(description="The number of the event before.")
    before_seq: int = Field(description="The number of the event after.")
    missing: int = Field(
        description="How many are missing: between the two; after a restart, below the first number that came."
    )
    after_time: datetime
    before_time: datetime


class SeqAnswer(_FromState):
    """The numbers (`seq`) of the events of a DPU in the window."""

    stored: int = Field(description="Events with a number.")
    unnumbered: int = Field(description="Events without one; the first after a restart may be numbered 0.")
    lowest: int | None
    highest: int | None
    missing: int = Field(description="Between the stored ones, from the last event before the window on.")
    pending: int | None = Field(
        description="So many behind the last stored one has the device, by its latest heartbeat: they wait there, are "
        "on their way, or lost. null: there is no heartbeat after the last event, or it did not say."
    )
    gap_count: int
    restart_count: int = Field(description="How often the numbers began anew: that is no gap.")
    out_of_order: int = Field(
        description="Events with a number not above those before them, though the device did not restart: its clock "
        "was set back, or it restarted twice within 100 events. What is missing around them is in doubt."
    )
    gaps: list[SeqBreakAnswer] = Field(description=f"The latest first, at most {MOST_BREAKS}.")
    restarts: list[SeqBreakAnswer] = Field(description=f"The latest first, at most {MOST_BREAKS}.")


class DpuStatusAnswer(DpuStateAnswer):
    """All that is known of a DPU."""

    since: datetime = Field(description="Where the window begins; it ends now.")
    seq: SeqAnswer | None = Field(description="null: the DPU sends no numbers.")
    rejected: dict[str, int] = Field(
        description="Events received in the window that were kept aside and still are, by code; each once, however "
        "often it was sent."
    )


@router.get("/dpus/{dpu_id}/status")
async def get_status(request: Request, dpu_id: DpuIdPath, since: SinceQuery = None) -> DpuStatusAnswer:
    """When the DPU was last heard of, how far its clock is off, and which of its events are missing."""
    settings: Settings = request.app.state.settings
    database: Database = request.app.state.database
    now = datetime.now(UTC)
    start = now - _WINDOW if since is None else _since(since, now, settings)
    # An event may be ahead by what a device's clock may be.
    found = await dpu_status(database, DEFAULT_ORGANIZATION, dpu_id, start, now + settings.max_clock_skew)
    return _answer(found)


@router.get("/dpu-statuses")
async def list_statuses(
    request: Request, silent_for: SilentQuery = None, limit: LimitQuery = 100, cursor: CursorQuery = None
) -> Page[DpuStateAnswer]:
    """The DPUs, in the order of their ids, and when each was last heard of; or only those that are silent.

    With `silent_for`, a page may hold fewer than `limit`, even none, though there is another: go on while `next` is
    not null.
    """
    settings: Settings = request.app.state.settings
    database: Database = request.app.state.database
    after = None if cursor is None else decode_cursor(cursor)
    silence = None if silent_for is None else duration(silent_for)
    found = await dpu_states(database, DEFAULT_ORGANIZATION, after, limit, silence, settings.max_clock_skew)
    return Page(
        items=[_state(state) for state in found.items],
        next=None if found.next is None else encode_cursor(found.next),
    )


def _since(text: str, now: datetime, settings: Settings) -> datetime:
    start, _ = time_range(text, None, settings.max_clock_skew, ("since", "now"))
    if start < now - LONGEST_RANGE:
        raise InvalidInput(f"since is more than {LONGEST_RANGE.days} days ago", field="since", value=text)
    return start


def _state(state: DpuState) -> DpuStateAnswer:
    return DpuStateAnswer.model_validate(state)


def _answer(found: DpuStatus) -> DpuStatusAnswer:
    return DpuStatusAnswer(
        **dict(_state(found.state)),
        since=found.since,
        seq=None if found.seq is None else SeqAnswer.model_validate(found.seq),
        rejected=found.rejected,
    )
