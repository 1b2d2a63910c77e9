"""Where DPUs, or their gateways, say that they are there, what time they have, and what they sent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from occupancy.api.dpus import DpuIdPath
from occupancy.api.metrics import count_heartbeats
from occupancy.database import DEFAULT_ORGANIZATION
from occupancy.devices.heartbeats import MOST_REPORTS, ParsedHeartbeats, parse_heartbeat, parse_heartbeats
from occupancy.devices.keeper import Keeper
from occupancy.devices.store import Kept
from occupancy.errors import InvalidInput, NotFound, TooLarge, UnsupportedMedia
from occupancy.ingest.body import decompressed
from occupancy.ingest.intake import Intake
from occupancy.parse import Clock
from occupancy.parse.documents import document_of
from occupancy.settings import Settings

router = APIRouter(tags=["devices"])

# Above this, parsing takes long enough to hold up other requests on the event loop.
_LARGE_BODY = 64 * 1024
_Parse: TypeAlias = Callable[[Any, Settings, Clock], ParsedHeartbeats]

_INSTANT = {"type": "string", "format": "date-time"}
_PROPERTIES: dict[str, Any] = {
    "timestamp": {**_INSTANT, "description": "The device's clock when it sends this."},
    "seq": {
        "type": ["integer", "null"],
        "minimum": 0,
        "description": "The number of its last event, also if that still waits to be sent.",
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


def _described(schema: dict[str, Any]) -> dict[str, Any]:
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


@router.post(
    "/heartbeats",
    response_model=HeartbeatReceipt,
    openapi_extra=_described({"oneOf": [_OF_ANY, {"type": "array", "items": _OF_ANY}]}),
)
async def keep_heartbeats(request: Request) -> Response:
    """Keep heartbeats of any DPUs: one, or an array. Answers after the commit.

    One that is bad never loses the others, nor does a bad statement in its `sent` lose it.
    """
    parsed = await _parsed(request, _parse_any)
    return _answer(await _keep(request, parsed))


@router.post(
    "/dpus/{dpu_id}/heartbeat",
    response_model=HeartbeatReceipt,
    openapi_extra=_described(_OF_ONE),
)
async def keep_heartbeat(request: Request, dpu_id: DpuIdPath) -> Response:
    """Keep a heartbeat of the DPU. Answers after the commit."""
    parsed = await _parsed(request, partial(_parse_one, dpu_id))
    kept = await _keep(request, parsed)
    if any(part.code == "unknown_dpu" for part in kept.rejected):
        raise NotFound(f"there is no DPU {dpu_id!r}", field="dpu_id", value=dpu_id)
    return _answer(kept)


async def _parsed(request: Request, parse: _Parse) -> ParsedHeartbeats:
    keeper: Keeper = request.app.state.keeper
    # before the body is read and parsed: this is when there is no time for it
    keeper.require_room()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # Required: a browser asks the service first before it sends this type for a page from elsewhere.
    if kind != "application/json":
        raise UnsupportedMedia("send heartbeats as application/json", field="Content-Type", value=kind)
    body = await request.body()
    settings: Settings = request.app.state.settings
    # The time in the body is compared with this.
    clock = settings.clock()
    encoding = request.headers.get("content-encoding", "")
    if encoding or len(body) > _LARGE_BODY:
        intake: Intake = request.app.state.intake
        async with intake.parsing:
            return await run_in_threadpool(_read, body, encoding, settings, clock, parse)
    return _read(body, encoding, settings, clock, parse)


def _read(body: bytes, encoding: str, settings: Settings, clock: Clock, parse: _Parse) -> ParsedHeartbeats:
    plain = decompressed(body, encoding, settings.max_body_bytes)
    try:
        document = document_of(plain)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON: {error}", field="body") from error
    return parse(document, settings, clock)


def _parse_any(document: Any, settings: Settings, clock: Clock) -> ParsedHeartbeats:
    documents = document if isinstance(document, list) else [document]
    limit = settings.max_heartbeats_per_request
    if len(documents) > limit:
        raise TooLarge(f"{len(documents)} heartbeats are more than {limit}: send them in parts", field="body")
    return parse_heartbeats(documents, clock, settings.sent_report_age)


def _parse_one(dpu_id: str, document: Any, settings: Settings, clock: Clock) -> ParsedHeartbeats:
    return parse_heartbeat(document, clock, settings.sent_report_age, dpu_id)


async def _keep(request: Request, parsed: ParsedHeartbeats) -> Kept:
    keeper: Keeper = request.app.state.keeper
    kept = await keeper.put(DEFAULT_ORGANIZATION, parsed)
    count_heartbeats(kept)
    return kept


def _answer(kept: Kept) -> Response:
    receipt = HeartbeatReceipt(
        accepted=kept.accepted,
        older=kept.older,
        rejected=[
            RejectedPart(index=part.index, code=part.code, detail=part.detail) for part in kept.rejected
        ],
    )
    return Response(receipt.model_dump_json(), media_type="application/json")
