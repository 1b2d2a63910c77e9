"""What a caller is told became of its events."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from pydantic import BaseModel, Field

from occupancy.database import Ingested


class RejectedEvent(BaseModel):
    """An event that is kept aside and counts nowhere until the reason is gone."""

    index: int = Field(
        description="Its place in the request, from 0; of lines, those that are empty are not counted."
    )
    code: str = Field(description="Stable reason, such as unknown_dpu or invalid_direction.")
    detail: str = Field(description="The reason in words, with the field and the value.")


class EventReceipt(BaseModel):
    """What became of one event."""

    index: int
    status: Literal["accepted", "queued", "duplicate", "conflict", "rejected"]
    code: str | None = Field(default=None, description="The reason, where it is conflict or rejected.")


class Receipt(BaseModel):
    """What became of the events of a request, after the commit."""

    accepted: int = Field(description="Stored by this request.")
    duplicates: int = Field(description="Were stored before, or came twice in this request.")
    rejected: list[RejectedEvent]
    receipts: list[EventReceipt] | None = Field(
        default=None, description="Every event by itself, where `receipts=true` was asked for."
    )


class Queued(BaseModel):
    """What is known of the events of a request that are in a log, to be stored later."""

    queued: int = Field(
        description="In the log for good. Duplicates and unknown DPUs are found when they are stored."
    )
    rejected: list[RejectedEvent]
    receipts: list[EventReceipt] | None = Field(
        default=None, description="Every event by itself, where `receipts=true` was asked for."
    )


def queued_json(result: Ingested, *, each: bool) -> bytes:
    """A Queued as JSON; with `each`, also event by event."""
    answer: dict[str, Any] = {"queued": result.accepted, "rejected": _rejected(result)}
    if each:
        answer["receipts"] = _each(result, "queued")
    return msgspec.json.encode(answer)


def receipt_json(result: Ingested, *, each: bool) -> bytes:
    """A Receipt as JSON; with `each`, also event by event."""
    receipt: dict[str, Any] = {
        "accepted": result.accepted,
        "duplicates": result.duplicates,
        "rejected": _rejected(result),
    }
    if each:
        receipt["receipts"] = _each(result, "accepted")
    return msgspec.json.encode(receipt)


def _rejected(result: Ingested) -> list[dict[str, Any]]:
    return [{"index": event.index, "code": event.code, "detail": event.detail} for event in result.rejected]


def _each(result: Ingested, good: str) -> list[dict[str, Any]]:
    number = result.accepted + result.duplicates + len(result.rejected)
    receipts: list[dict[str, Any]] = [{"index": index, "status": good} for index in range(number)]
    for index in result.duplicate_indexes:
        receipts[index]["status"] = "duplicate"
    for event in result.rejected:
        status = "conflict" if event.code == "conflict" else "rejected"
        receipts[event.index] |= {"status": status, "code": event.code}
    return receipts
