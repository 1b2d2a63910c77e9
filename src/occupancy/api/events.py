"""Where DPUs send their events."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from occupancy.api.metrics import count_events, count_queued
from occupancy.database import DEFAULT_ORGANIZATION, Ingested
from occupancy.errors import InvalidInput
from occupancy.ingest.body import content_type, decompressed, parse_body
from occupancy.ingest.intake import Intake
from occupancy.ingest.once import HEADER, KeyedRequest, fingerprint, idempotency_key
from occupancy.ingest.receipt import Queued, Receipt, queued_json, receipt_json
from occupancy.parse import Parsed
from occupancy.settings import Settings

router = APIRouter(tags=["events"])

# Above this, decoding and parsing take long enough to hold up other requests on the event loop.
_LARGE_BODY = 256 * 1024

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
_CLOUDEVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["specversion", "id", "source", "type", "data"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "format": "uri-reference"},
        "type": {"type": "string", "minLength": 1},
        "data": _EVENT_SCHEMA,
    },
}
_OPENAPI: dict[str, Any] = {
    "requestBody": {
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
            },
            "application/x-ndjson": {
                "schema": {"type": "string", "description": "An event or CloudEvent a line."}
            },
            "application/cloudevents+json": {"schema": _CLOUDEVENT_SCHEMA},
            "application/cloudevents-batch+json": {"schema": {"type": "array", "items": _CLOUDEVENT_SCHEMA}},
        },
    },
    "parameters": [
        {
            "name": "receipts",
            "in": "query",
            "schema": {"type": "boolean", "default": False},
            "description": "Also say of each event by itself what became of it.",
        },
        {
            "name": "Content-Encoding",
            "in": "header",
            "schema": {"type": "string", "enum": ["identity", "gzip", "zstd"]},
        },
        {
            "name": HEADER,
            "in": "header",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            "description": "A repetition of the request with the same key is answered as the first was.",
        },
    ],
}


_QUEUED: dict[int | str, dict[str, Any]] = {
    202: {"model": Queued, "description": "The service runs with `--ingest kafka`: stored a little later."}
}


@router.post("/events", response_model=Receipt, responses=_QUEUED, openapi_extra=_OPENAPI)
async def ingest(request: Request) -> Response:
    """Store events: one, an array, `{"events": [...]}`, NDJSON or CloudEvents, plain or as gzip or zstd.

    Answers after the commit. Sending the same event again changes nothing. One bad event never loses the good ones: it
    is kept aside with its reason and named in the answer. 429 with `Retry-After`: more comes in than can be stored, and
    nothing of the request was.
    """
    intake: Intake = request.app.state.intake
    # before the body is read and parsed: this is when there is no time for it
    intake.require_room()
    each = _receipts_wanted(request)
    key = request.headers.get(HEADER)
    kind = content_type(request.headers.get("content-type", ""))
    body = await request.body()
    encoding = request.headers.get("content-encoding", "")
    if encoding or len(body) > _LARGE_BODY:
        async with intake.parsing:
            parsed = await run_in_threadpool(_parse, body, encoding, kind, request.app.state.settings)
    else:
        parsed = _parse(body, encoding, kind, request.app.state.settings)
    if key is None:
        result = await intake.put(DEFAULT_ORGANIZATION, parsed)
        return _answer(result, each=each, only_queued=intake.only_queues)
    keyed = KeyedRequest(DEFAULT_ORGANIZATION, idempotency_key(key), fingerprint(kind, body), parsed)
    answered = await intake.put_once(keyed)
    response = _answer(answered.result, each=each, only_queued=intake.only_queues)
    if answered.is_repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _parse(body: bytes, encoding: str, kind: str, settings: Settings) -> Parsed:
    plain = decompressed(body, encoding, settings.max_body_bytes)
    clock = settings.clock()
    return parse_body(plain, kind, clock, settings.max_events_per_request)


def _receipts_wanted(request: Request) -> bool:
    if not request.scope["query_string"]:
        return False
    for name, value in request.query_params.multi_items():
        if name != "receipts":
            raise InvalidInput(
                f"there is no parameter {name!r} here; there are: receipts", field=name, value=value
            )
        if value not in {"true", "false"}:
            raise InvalidInput("receipts must be true or false", field=name, value=value)
    return request.query_params.get("receipts") == "true"


def _answer(result: Ingested, *, each: bool, only_queued: bool) -> Response:
    if only_queued:
        count_queued(result)
        return Response(queued_json(result, each=each), 202, media_type="application/json")
    count_events(result)
    return Response(receipt_json(result, each=each), media_type="application/json")
