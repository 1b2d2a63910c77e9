"""Where DPUs, or their gateways, say that they are there, what time they have, and what they sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from occupancy.api.dpus import DpuIdPath
from occupancy.api.metrics import count_heartbeats
from occupancy.database import DEFAULT_ORGANIZATION, Database
from occupancy.devices.heartbeats import (
    MOST_REPORTS,
    ParsedHeartbeats,
    parse_heartbeat,
    parse_heartbeats,
)
from occupancy.devices.store import Kept, keep
from occupancy.errors import InvalidInput, NotFound, TooLarge
from occupancy.parse import Clock
from occupancy.parse.documents import document_of
from occupancy.settings import Settings

router = APIRouter(tags=["devices"])

_INSTANT = {"type": "string", "format": "date-time"}
_PROPERTIES: dict[str, Any] = {
    "timestamp": {**_INSTANT, "description": "The device's clock when it sends this."},
    "seq": {
        "type": ["integer", "null"],
        "minimum": 0,
        "description": "The number of the last event it sent.",
    },
    "sent": {
        "type": ["array", "null"],
        "maxItems": MOST_REPORTS,
        "description": "So many events in [from, to), in all.",
        "items": {
            "type": "object",
            "required": ["from", "to", "events"],
            "properties": {
                "from": _INSTANT,
                "to": _INSTANT,
                "events": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
            },
        },
    },
}
_OF_ONE: dict[str, Any] = {
    "type": "object",
    "required": ["timestamp"],
    "properties": _PROPERTIES,
    "example": {
        "timestamp": "2026-02-28T16:00:05Z",
        "seq": 1017,
        "sent": [{"from": "2026-02-28T15:00:00Z", "to": "2026-02-28T16:00:00Z", "events": 61}],
    },
}
_OF_ANY: dict[str, Any] = {
    "type": "object",
    "required": ["dpu_id", "timestamp"],
    "properties": {"dpu_id": {"type": "string", "minLength": 1, "maxLength": 200}, **_PROPERTIES},
    "example": {"dpu_id": "283", **_OF_ONE["example"]},
}


def _body_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


class RejectedPart(BaseModel):
    """A heartbeat, or one statement in its `sent`, that was not kept."""

    index: int = Field(description="The heartbeat's place in the request, from 0.")
    code: str = Field(description="Stable reason, such as unknown_dpu or invalid_timestamp.")
    detail: str = Field(description="The reason in words, with the field and the value.")


class HeartbeatReceipt(BaseModel):
    """What became of the heartbeats of a request, after the commit."""

    accepted: int = Field(description="Are the latest of their DPU now.")
    older: int = Field(
        description="Came after a later one of their DPU: that one stays. `sent` counts all the same."
    )
    rejected: list[RejectedPart]


async def _body(request: Request) -> bytes:
    # Required: a browser asks the service first before it sends this type for a page from elsewhere.
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise InvalidInput("send heartbeats as application/json", field="Content-Type", value=kind)
    return await request.body()


Body = Annotated[bytes, Depends(_body)]


@router.post(
    "/heartbeats", openapi_extra=_body_schema({"oneOf": [_OF_ANY, {"type": "array", "items": _OF_ANY}]})
)
async def keep_heartbeats(request: Request, body: Body) -> HeartbeatReceipt:
    """Keep heartbeats of any DPUs: one, or an array. Answers after the commit.

    One that is bad never loses the others, nor does a bad statement in its `sent` lose it.
    """
    settings: Settings = request.app.state.settings
    document = _document(body)
    documents = document if isinstance(document, list) else [document]
    limit = settings.max_heartbeats_per_request
    if len(documents) > limit:
        raise TooLarge(f"{len(documents)} heartbeats are more than {limit}: send them in parts", field="body")
    parsed = parse_heartbeats(documents, _clock(settings), settings.sent_report_age)
    return _receipt(await _keep(request, parsed))


@router.post("/dpus/{dpu_id}/heartbeat", openapi_extra=_body_schema(_OF_ONE))
async def keep_heartbeat(request: Request, dpu_id: DpuIdPath, body: Body) -> HeartbeatReceipt:
    """Keep a heartbeat of the DPU. Answers after the commit."""
    settings: Settings = request.app.state.settings
    parsed = parse_heartbeat(_document(body), _clock(settings), settings.sent_report_age, dpu_id)
    kept = await _keep(request, parsed)
    if any(part.code == "unknown_dpu" for part in kept.rejected):
        raise NotFound(f"there is no DPU {dpu_id!r}", field="dpu_id", value=dpu_id)
    return _receipt(kept)


async def _keep(request: Request, parsed: ParsedHeartbeats) -> Kept:
    database: Database = request.app.state.database
    kept = await keep(database, DEFAULT_ORGANIZATION, parsed)
    count_heartbeats(kept)
    return kept


def _document(body: bytes) -> Any:
    try:
        return document_of(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON: {error}", field="body") from error


def _clock(settings: Settings) -> Clock:
    return Clock(datetime.now(UTC), settings.max_clock_skew, settings.earliest_event)


def _receipt(kept: Kept) -> HeartbeatReceipt:
    return HeartbeatReceipt(
        accepted=kept.accepted,
        older=kept.older,
        rejected=[
            RejectedPart(index=part.index, code=part.code, detail=part.detail) for part in kept.rejected
        ],
    )
