"""What a DPU says it sent against what is stored."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from occupancy.api.dpu_status import SeqBreakAnswer
from occupancy.api.dpus import DpuIdPath
from occupancy.api.times import time_range
from occupancy.database import DEFAULT_ORGANIZATION, Database
from occupancy.devices.reconciliation import (
    LONGEST_RANGE,
    MOST_OTHER_REPORTS,
    Reconciliation,
    reconcile,
)
from occupancy.devices.status import MOST_BREAKS
from occupancy.errors import InvalidInput

router = APIRouter(tags=["devices"])

FromQuery = Annotated[
    str, Query(alias="from", description="From the hour (UTC) of this instant on, RFC 3339 with an offset.")
]
ToQuery = Annotated[
    str | None,
    Query(
        alias="to",
        description=f"Up to the end of the hour before this instant, at most {LONGEST_RANGE.days} days; default: now.",
    ),
]


class TallyAnswer(BaseModel):
    """What is stored, said and missing. null: nobody can know."""

    stored: int | None = Field(description="Events; null: some may have been dropped by age.")
    towards: int | None = Field(description="Those towards the DPU (1).")
    away: int | None = Field(description="Those away from it (-1).")
    reported: int | None = Field(description="Events that the device says it sent; null: it does not say.")
    seq_lowest: int | None
    seq_highest: int | None
    seq_missing: int | None = Field(
        description="Numbers missing between events of this time; null: there are none."
    )
    seq_missing_before: int | None = Field(
        description="Numbers missing between the last event before this time and the first one in it."
    )
    restarts: int | None = Field(description="How often the numbers began anew.")
    rejected: int = Field(
        description="Events of this time that were kept aside, each once; they are not stored, so they may be among "
        "the missing."
    )
    missing: int | None = Field(
        description="Sent and not stored: reported - stored, or else by the numbers where these leave no doubt."
    )
    pending: int | None = Field(
        description="So many of the missing ones may be behind the last stored event, by the latest heartbeat: in the "
        "device, or on their way. null: nothing was reported, or the device does not say."
    )
    matches: bool | None = Field(
        description="Whether all that was sent is stored, and nothing else; null: there is nothing to compare with, or "
        "what is missing may still come (pending, not 15 minutes old, or held until its chunk is compressed)."
    )


class HourAnswer(TallyAnswer):
    """An hour (UTC)."""

    start: datetime


class OtherReportAnswer(BaseModel):
    """A statement of the device that is not about one of the hours, compared over its own range."""

    model_config = ConfigDict(populate_by_name=True)

    start: datetime = Field(serialization_alias="from")
    end: datetime = Field(serialization_alias="to")
    reported: int
    stored: int | None
    matches: bool | None


class ReconciliationAnswer(BaseModel):
    """The hours of a range, and the range as a whole."""

    dpu_id: str
    start: datetime = Field(serialization_alias="from")
    end: datetime = Field(serialization_alias="to")
    stored_since: datetime | None = Field(
        description="Single events before this instant may have been dropped by age; null: none were."
    )
    total: TallyAnswer
    hours: list[HourAnswer]
    other_reports: list[OtherReportAnswer] = Field(
        description=f"Statements that touch the range and fit no hour; at most {MOST_OTHER_REPORTS}."
    )
    gaps: list[SeqBreakAnswer] = Field(description=f"The latest first, at most {MOST_BREAKS}.")
    restarts: list[SeqBreakAnswer] = Field(description=f"The latest first, at most {MOST_BREAKS}.")


@router.get("/dpus/{dpu_id}/reconciliation")
async def get_reconciliation(
    request: Request, dpu_id: DpuIdPath, start: FromQuery, end: ToQuery = None
) -> ReconciliationAnswer:
    """What the DPU says it sent against what is stored, hour by hour: by its reports, and by gaps in its numbers."""
    database: Database = request.app.state.database
    since, until = time_range(start, end, request.app.state.settings.max_clock_skew, ("from", "to"))
    if until - since > LONGEST_RANGE:
        raise InvalidInput(
            f"from is more than {LONGEST_RANGE.days} days before to", field="from", value=start
        )
    return _answer(dpu_id, await reconcile(database, DEFAULT_ORGANIZATION, dpu_id, since, until))


def _answer(dpu_id: str, found: Reconciliation) -> ReconciliationAnswer:
    return ReconciliationAnswer(
        dpu_id=dpu_id,
        start=found.start,
        end=found.end,
        stored_since=found.stored_since,
        total=TallyAnswer(**asdict(found.total)),
        hours=[HourAnswer(start=hour.start, **asdict(hour.tally)) for hour in found.hours],
        other_reports=[OtherReportAnswer(**asdict(report)) for report in found.other_reports],
        gaps=[SeqBreakAnswer.model_validate(gap) for gap in found.gaps],
        restarts=[SeqBreakAnswer.model_validate(restart) for restart in found.restarts],
    )
