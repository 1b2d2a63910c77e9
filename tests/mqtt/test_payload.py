"""What messages say, good beside bad."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from occupancy.mqtt.message import Message
from occupancy.mqtt.payload import Reader, portions
from occupancy.mqtt.topic import Topic
from occupancy.parse import Clock, Events, Parsed, Rejected

CLOCK = Clock(datetime(2026, 3, 2, tzinfo=UTC), timedelta(minutes=5), datetime(2015, 1, 1, tzinfo=UTC))
EVENT = {"dpu_id": "283", "timestamp": "2026-03-01T12:00:00Z", "direction": 1}
NAMELESS = {"timestamp": "2026-03-01T12:00:00Z", "direction": -1}


class _Nobody:
    def acknowledge(self, message: Message) -> bool:  # noqa: ARG002
        return True


def message(payload: Any, topic: bytes = b"dpus/283/events") -> Message:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Message(topic, raw, 1, 1, time.monotonic(), _Nobody())


def read(*messages: Message, pattern: str = "dpus/{dpu_id}/events", most_bytes: int = 10_000) -> Parsed:
    return Reader(Topic.parse(pattern), most_bytes).read(messages, CLOCK)


def codes(parsed: Parsed) -> list[str]:
    return [event.code for event in parsed.rejected]


@pytest.mark.parametrize(
    "payload",
    [
        EVENT,
        [EVENT],
        {"events": [EVENT]},
        {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": EVENT},
        {**NAMELESS, "direction": 1},
        {"events": [{**NAMELESS, "direction": 1}]},
        {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {**NAMELESS, "direction": 1}},
    ],
)
def test_every_form_of_an_event(payload: Any) -> None:
    parsed = read(message(payload))
    assert parsed.rejected == []
    assert (parsed.events.dpu_ids, parsed.events.directions) == (["283"], [1])


def test_each_event_of_a_message_is_judged_by_itself() -> None:
    parsed = read(message([EVENT, {**EVENT, "direction": 2}, 7, {**EVENT, "seq": 1}]), message(NAMELESS))
    assert parsed.events.seqs == [0, 1, 0]
    assert parsed.events.indexes == [0, 3, 4]
    assert codes(parsed) == ["invalid_direction", "invalid_event"]
    assert [event.index for event in parsed.rejected] == [1, 2]


def test_without_a_level_for_it_the_payload_names_the_dpu() -> None:
    parsed = read(message(EVENT, b"any"), message(NAMELESS, b"any"), pattern="any")
    assert parsed.events.dpu_ids == ["283"]
    assert codes(parsed) == ["missing_field"]


@pytest.mark.parametrize("event", [EVENT, {"specversion": "1.0", "data": EVENT}])
def test_an_event_of_another_dpu_than_its_topic_is_kept_aside_as_text(event: Any) -> None:
    parsed = read(message([event], b"dpus/423/events"))
    assert len(parsed.events) == 0
    assert codes(parsed) == ["wrong_topic"]
    # as text: a replay of what was kept aside must not take it for an event
    assert json.loads(parsed.rejected[0].payload) == event


@pytest.mark.parametrize(
    ("sent", "code", "kept"),
    [
        (message(b"{"), "invalid_json", "{"),
        (message(b"+1"), "invalid_json", "+1"),
        (message(b"\xff\x00"), "invalid_json", "data:application/octet-stream;base64,/wA="),
        (message({"events": 7}), "invalid_json", '{"events": 7}'),
        (message(b'"' + b"x" * 10_000 + b'"'), "message_too_large", '"' + "x" * 10_000 + '"'),
        (message(EVENT, b"dpus/283"), "wrong_topic", json.dumps(EVENT)),
        (message(EVENT, b"dpus/\xff/events"), "wrong_topic", json.dumps(EVENT)),
    ],
)
def test_poison_is_kept_whole_and_holds_up_nothing(sent: Message, code: str, kept: str) -> None:
    parsed = read(message(EVENT), sent, message(NAMELESS))
    assert parsed.events.directions == [1, -1]
    assert codes(parsed) == [code]
    assert parsed.rejected[0].payload == kept
    assert "message on topic" in parsed.rejected[0].detail
    assert parsed.rejected[0].index == 2


def test_of_a_huge_message_the_beginning_is_kept() -> None:
    for payload in (b"x" * 100_000, b"\xff" * 100_000):
        (rejected,) = read(message(payload)).rejected
        assert len(rejected.payload) < 100_000
        assert "only the first 32768 are kept" in rejected.detail


def test_of_a_huge_event_in_a_message_the_beginning_is_kept() -> None:
    huge = {**EVENT, "direction": 0, "note": "x" * 100_000}
    parsed = read(message([huge, EVENT, {**EVENT, "direction": 0}]), most_bytes=10**6)
    assert codes(parsed) == ["invalid_direction", "invalid_direction"]
    assert len(parsed.rejected[0].payload) == 32_768
    assert parsed.rejected[1].payload == {**EVENT, "direction": 0}
    assert len(parsed.events) == 1


def test_an_empty_message_says_nothing() -> None:
    assert len(read(message(b""))) == 0


@pytest.mark.parametrize("depth", [10, 5_000, 200_000])
def test_nested_without_end(depth: int) -> None:
    parsed = read(message(b"[" * depth), message(b"[" * depth + b"]" * depth), most_bytes=10**6)
    assert len(parsed.events) == 0
    assert len(parsed.rejected) == 2


def test_portions_are_the_whole() -> None:
    events = Events()
    for number in range(25):
        events.indexes.append(number)
        events.dpu_ids.append("d")
        events.times.append(CLOCK.now)
        events.directions.append(1)
        events.seqs.append(number)
    parsed = Parsed(events, [Rejected(number, "c", "d", None) for number in range(31)])
    parts = list(portions(parsed, 10))
    assert [len(part.events) for part in parts] == [10, 10, 5, 0]
    assert [seq for part in parts for seq in part.events.seqs] == events.seqs
    assert [event for part in parts for event in part.rejected] == parsed.rejected
    assert len(list(portions(Parsed(), 10))) == 1
