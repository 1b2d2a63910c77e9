"""Many events at once: columns of what is good, reasons for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import msgspec

from occupancy.parse.columns import Events, Parsed
from occupancy.parse.documents import document_of
from occupancy.parse.judge import LARGEST_SEQ, LONGEST_ID, Clock, Event, Rejected, Unusable, judged
from occupancy.parse.payload import shown
from occupancy.parse.timestamp import Instant

# A rejected payload that is no JSON is kept as text up to this length.
_LONGEST_KEPT = 64 * 1024


class _Message(msgspec.Struct, gc=False):
    """What `judged` accepts, but for what only a look at the whole column tells; never more than that."""

    dpu_id: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_ID)]
    timestamp: Instant
    direction: Literal[1, -1]
    seq: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_SEQ)] | None = 0
    # A field of this type cannot be sent: with it, the message is a CloudEvent.
    specversion: msgspec.UnsetType = msgspec.UNSET


class _Data(msgspec.Struct, gc=False):
    dpu_id: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_ID)]
    timestamp: Instant
    direction: Literal[1, -1]
    seq: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_SEQ)] | None = 0


class _CloudEvent(msgspec.Struct, gc=False):
    specversion: Literal["1.0"]
    data: _Data


_PLAIN = msgspec.json.Decoder(_Message)
_CLOUD = msgspec.json.Decoder(_CloudEvent)
# What msgspec raises for text that is no JSON, or not of the type; it never raises for an event that is good.
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def parse_messages(payloads: Sequence[bytes | msgspec.Raw], clock: Clock) -> Parsed:
    """Judge each payload, the JSON of one event or CloudEvent, by itself. Order and index are kept; never raises."""
    indexes: list[int] = []
    messages: list[_Message | _Data] = []
    doubtful: list[int] = []
    for index, payload in enumerate(payloads):
        try:
            message = _decoded(payload)
        except _UNREADABLE:
            doubtful.append(index)
        else:
            indexes.append(index)
            messages.append(message)
    parsed = Parsed(_columns(indexes, messages))
    if not _is_good(parsed.events, clock):
        doubtful = sorted(doubtful + _take_out(parsed.events, clock))
    for index in doubtful:
        _judge_payload(parsed, index, bytes(payloads[index]), clock)
    return parsed


def parse_events(documents: Iterable[Any], clock: Clock) -> Parsed:
    """Judge each document, a JSON value, by itself. Order and index are kept."""
    parsed = Parsed()
    for index, document in enumerate(documents):
        _judge(parsed, index, document, clock)
    return parsed


def _decoded(payload: bytes | msgspec.Raw) -> _Message | _Data:
    try:
        return _PLAIN.decode(payload)
    except msgspec.ValidationError:
        return _CLOUD.decode(payload).data


def _columns(indexes: list[int], messages: list[_Message | _Data]) -> Events:
    return Events(
        indexes=indexes,
        dpu_ids=[message.dpu_id for message in messages],
        times=[message.timestamp for message in messages],
        directions=[message.direction for message in messages],
        seqs=[message.seq or 0 for message in messages],
    )


def _is_good(events: Events, clock: Clock) -> bool:
    # one look at each column, instead of one at each event
    return not events.times or (
        min(events.times) >= clock.earliest
        and max(events.times) <= clock.latest
        and "".join(events.dpu_ids).isprintable()
    )


def _take_out(events: Events, clock: Clock) -> list[int]:
    """Leave in `events` those that are good; the indexes of the others."""
    good: list[int] = []
    others: list[int] = []
    for place, (time, dpu_id) in enumerate(zip(events.times, events.dpu_ids, strict=True)):
        fits = clock.earliest <= time <= clock.latest and dpu_id.isprintable()
        (good if fits else others).append(place)
    indexes = [events.indexes[place] for place in others]
    for name in ("indexes", "dpu_ids", "times", "directions", "seqs"):
        column = getattr(events, name)
        setattr(events, name, [column[place] for place in good])
    return indexes


def _judge_payload(parsed: Parsed, index: int, payload: bytes, clock: Clock) -> None:
    try:
        document = document_of(payload)
    except (ValueError, RecursionError) as error:
        text = payload[:_LONGEST_KEPT].decode(errors="backslashreplace")
        detail = f"{shown(text)} is not JSON: {error}"
        parsed.rejected.append(Rejected(index, "invalid_json", detail, text))
    else:
        _judge(parsed, index, document, clock)


def _judge(parsed: Parsed, index: int, document: Any, clock: Clock) -> None:
    try:
        event = judged(document, clock)
    except Unusable as why:
        parsed.rejected.append(Rejected(index, why.code, why.detail, document))
    else:
        _append(parsed.events, index, event)


def _append(events: Events, index: int, event: Event) -> None:
    events.indexes.append(index)
    events.dpu_ids.append(event.dpu_id)
    events.times.append(event.timestamp)
    events.directions.append(event.direction)
    events.seqs.append(event.seq)
