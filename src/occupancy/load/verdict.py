"""What an answer says of the events that were sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import msgspec

from occupancy.load.http import Answer


class Fate(Enum):
    """What is known of the events of a request."""

    ACKNOWLEDGED = "acknowledged"  # stored, but for those that were rejected
    REFUSED = "refused"  # not stored, and to be sent again later
    FAILED = "failed"  # not stored, and no use in sending it again
    UNKNOWN = "unknown"  # perhaps stored
    STALE = "stale"  # perhaps stored; the connection had been closed while it was idle


@dataclass(frozen=True, slots=True)
class Verdict:
    """The fate, what a receipt holds, and how the answer is listed: an HTTP status, an error of Kafka, or a reason."""

    fate: Fate
    label: str
    accepted: int = 0
    duplicates: int = 0
    rejected: dict[int, str] = field(default_factory=dict)  # place in the request: code
    retry_after: float | None = None


class _Rejected(msgspec.Struct):
    index: int
    code: str


class _Receipt(msgspec.Struct):
    accepted: int = 0
    duplicates: int = 0
    queued: int = 0  # where a log stands in front of the database
    rejected: list[_Rejected] = []


_receipt = msgspec.json.Decoder(_Receipt)
# What almost every answer is: known by its bytes, so that it costs nothing to read.
_USUAL = b'{"accepted":1,"duplicates":0,"rejected":[]}'
_USUAL_VERDICT = Verdict(Fate.ACKNOWLEDGED, "200", accepted=1)


def judge(answer: Answer, events: int) -> Verdict:
    """The verdict on a request with so many events."""
    status = answer.status
    if status == 200 and events == 1 and answer.body == _USUAL:
        return _USUAL_VERDICT
    if 200 <= status < 300:
        return _read(answer, events)
    if status == 429:
        return Verdict(Fate.REFUSED, "429", retry_after=answer.retry_after)
    if 400 <= status < 500 and status != 408:
        return Verdict(Fate.FAILED, str(status))
    if status == 0:
        return Verdict(Fate.STALE if answer.stale else Fate.UNKNOWN, answer.lost)
    # Also 503: the database may have committed what it could no longer say.
    return Verdict(Fate.UNKNOWN, str(status), retry_after=answer.retry_after)


def _read(answer: Answer, events: int) -> Verdict:
    try:
        receipt = _receipt.decode(answer.body)
    except msgspec.MsgspecError:
        return Verdict(Fate.UNKNOWN, f"{answer.status} without a receipt")
    rejected = {event.index: event.code for event in receipt.rejected}
    accepted = receipt.accepted + receipt.queued
    told_of = accepted + receipt.duplicates + len(rejected)
    places = all(0 <= index < events for index in rejected)
    if told_of != events or not places or min(receipt.accepted, receipt.queued, receipt.duplicates) < 0:
        return Verdict(Fate.UNKNOWN, f"{answer.status} with a receipt for another number of events")
    return Verdict(Fate.ACKNOWLEDGED, str(answer.status), accepted, receipt.duplicates, rejected)
