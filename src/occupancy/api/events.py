"""Where DPUs send their events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from occupancy.api.metrics import count_events
from occupancy.database import DEFAULT_ORGANIZATION, Database
from occupancy.errors import InvalidInput, TooLarge
from occupancy.parse import Clock, Parsed, documents, parse_events
from occupancy.settings import Settings

router = APIRouter(tags=["events"])

# Above this, parsing takes long enough to hold up other requests on the event loop.
_LARGE_BODY = 64 * 1024

_EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["dpu_id", "timestamp", "direction"],
    "properties": {
        "dpu_id": {"type": "string", "minLength": 1, "maxLength": 200},
        "timestamp": {"type": "string", "format": "date-time"},
        "direction": {"type": "integer", "enum": [1, -1]},
        "seq": {"type": ["integer", "null"], "minimum": 0},
    },
    "example": {"dpu_id": "283", "timestamp": "2026-02-28T15:34:00Z", "direction": 1},
}
_BODY_SCHEMA: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "oneOf": [
                    _EVENT_SCHEMA,
                    {"type": "array", "items": _EVENT_SCHEMA},
                    {
                        "type": "object",
                        "required": ["events"],
                        "properties": {"events": {"type": "array", "items": _EVENT_SCHEMA}},
                    },
                ]
            }
        }
    },
}


class RejectedEvent(BaseModel):
    """An event that is kept aside and counts nowhere until the reason is gone."""

    index: int = Field(description="Its place in the request, from 0.")
    code: str = Field(description="Stable reason, such as unknown_dpu or invalid_direction.")
    detail: str = Field(description="The reason in words, with the field and the value.")


class Receipt(BaseModel):
    """What became of the events of a request, after the commit."""

    accepted: int = Field(description="Stored by this request.")
    duplicates: int = Field(description="Were stored before, or came twice in this request.")
    rejected: list[RejectedEvent]


async def _body(request: Request) -> bytes:
    # Required: a browser asks the service first before it sends this type for a page from elsewhere.
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise InvalidInput("send events as application/json", field="Content-Type", value=kind)
    return await request.body()


def _parse(body: bytes, settings: Settings) -> Parsed:
    given = documents(body)
    if len(given) > settings.max_events_per_request:
        limit = settings.max_events_per_request
        raise TooLarge(f"{len(given)} events are more than {limit}: send them in parts", field="events")
    clock = Clock(datetime.now(UTC), settings.max_clock_skew, settings.earliest_event)
    return parse_events(given, clock)


@router.post("/events", openapi_extra={"requestBody": _BODY_SCHEMA})
async def ingest(request: Request, body: Annotated[bytes, Depends(_body)]) -> Receipt:
    """Store events: one, an array, or `{"events": [...]}`. Answers after the commit.

    Sending the same event again changes nothing. One bad event never loses the good ones: it is kept aside with its
    reason and named in the answer.
    """
    settings: Settings = request.app.state.settings
    database: Database = request.app.state.database
    if len(body) > _LARGE_BODY:
        parsed = await run_in_threadpool(_parse, body, settings)
    else:
        parsed = _parse(body, settings)
    result = await database.ingest(DEFAULT_ORGANIZATION, parsed)
    count_events(result)
    return Receipt(
        accepted=result.accepted,
        duplicates=result.duplicates,
        rejected=[RejectedEvent(index=r.index, code=r.code, detail=r.detail) for r in result.rejected],
    )
