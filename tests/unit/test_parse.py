"""Each event is judged by itself; what is rejected keeps its payload and gets a code."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from occupancy.errors import InvalidInput
from occupancy.parse import (
    WRAPPED,
    Clock,
    Parsed,
    documents,
    parse_events,
    parse_timestamp,
    payload_json,
    sent_payload,
)

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
CLOCK = Clock(NOW, timedelta(minutes=5), datetime(2000, 1, 1, tzinfo=UTC))
GOOD: dict[str, Any] = {"dpu_id": "283", "timestamp": "2026-03-02T11:00:00Z", "direction": 1}


def parse(*given: Any) -> Parsed:
    return parse_events(given, CLOCK)


def test_a_good_event_is_read() -> None:
    (event,) = parse(GOOD | {"seq": 7}).events
    assert (event.index, event.dpu_id, event.direction, event.seq) == (0, "283", 1, 7)
    assert event.timestamp == datetime(2026, 3, 2, 11, 0, tzinfo=UTC)


def test_an_event_without_seq_has_seq_0() -> None:
    assert [event.seq for event in parse(GOOD, GOOD | {"seq": None}).events] == [0, 0]


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        ({"direction": 2}, "invalid_direction", "2"),
        ({"direction": True}, "invalid_direction", "true"),
        ({"direction": "1"}, "invalid_direction", '"1"'),
        ({"direction": 1.0}, "invalid_direction", "1.0"),
        ({"direction": None}, "invalid_direction", "null"),
        ({"timestamp": "2026-03-02T11:00:00+00:99"}, "invalid_timestamp", "+00:99"),
        ({"dpu_id": 283}, "invalid_dpu_id", "283"),
        ({"dpu_id": ""}, "invalid_dpu_id", '""'),
        ({"dpu_id": "a\x00b"}, "invalid_dpu_id", "u0000"),
        ({"dpu_id": "\ud800"}, "invalid_dpu_id", "ud800"),
        ({"dpu_id": "x" * 201}, "invalid_dpu_id", "xxx"),
        ({"timestamp": "2026-03-02T11:00:00"}, "invalid_timestamp", "offset"),
        ({"timestamp": "2026-02-30T11:00:00Z"}, "invalid_timestamp", "2026-02-30"),
        ({"timestamp": 1772449200}, "invalid_timestamp", "1772449200"),
        ({"timestamp": "2026-03-02"}, "invalid_timestamp", "2026-03-02"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "invalid_timestamp", "0001"),
        ({"timestamp": "2026-03-02T12:05:01Z"}, "future_time", "ahead"),
        ({"timestamp": "1999-12-31T23:59:59Z"}, "past_time", "1999"),
        ({"seq": -1}, "invalid_seq", "-1"),
        ({"seq": 2**63}, "invalid_seq", str(2**63)),
        ({"seq": "7"}, "invalid_seq", '"7"'),
    ],
)
def test_what_cannot_be_counted_is_rejected_by_code(change: dict[str, Any], code: str, named: str) -> None:
    sent = GOOD | change
    parsed = parse(GOOD, sent, GOOD)
    assert [event.index for event in parsed.events] == [0, 2]
    (rejected,) = parsed.rejected
    assert (rejected.index, rejected.code, rejected.payload) == (1, code, sent)
    assert next(iter(change)) in rejected.detail
    assert named in rejected.detail


@pytest.mark.parametrize("name", ["dpu_id", "timestamp", "direction"])
def test_a_missing_field_is_named(name: str) -> None:
    (rejected,) = parse({key: value for key, value in GOOD.items() if key != name}).rejected
    assert (rejected.code, rejected.detail) == ("missing_field", f"{name} is missing")


@pytest.mark.parametrize("sent", [None, 1, "x", [], [GOOD]])
def test_an_event_that_is_no_object_is_rejected(sent: Any) -> None:
    assert [event.code for event in parse(sent).rejected] == ["invalid_event"]


def test_the_clock_may_be_ahead_by_the_allowed_skew() -> None:
    assert len(parse(GOOD | {"timestamp": "2026-03-02T12:05:00Z"}).events) == 1


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-03-02T11:00:00Z", "2026-03-02T11:00:00+00:00"),
        ("2026-03-02t11:00:00.5z", "2026-03-02T11:00:00.500000+00:00"),
        ("2026-03-02 12:00:00+01:00", "2026-03-02T11:00:00+00:00"),
        ("2026-03-02T11:00:00.123456789Z", "2026-03-02T11:00:00.123456+00:00"),
    ],
)
def test_timestamps_become_utc(text: str, utc: str) -> None:
    assert parse_timestamp(text).isoformat() == utc


def test_one_event_an_array_and_an_object_with_events_are_the_same() -> None:
    one = json.dumps(GOOD).encode()
    assert documents(one) == documents(b"[" + one + b"]") == documents(b'{"events":[' + one + b"]}") == [GOOD]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"events": 1}', b"[NaN]", b"[" * 100_000])
def test_a_body_that_is_not_json_is_refused_whole(body: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        documents(body)
    assert caught.value.field in {"body", "events"}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda part: st.lists(part) | st.dictionaries(st.sampled_from(["a", "\x00", WRAPPED]), part),
    max_leaves=5,
)


@given(_JSON)
def test_every_payload_can_be_kept_as_jsonb(payload: Any) -> None:
    text = payload_json(payload)
    assert "\\u0000" not in text.replace("\\\\u0000", "")
    assert sent_payload(text) == payload


@pytest.mark.parametrize(
    "payload", [{WRAPPED: 5}, {WRAPPED: "{"}, {WRAPPED: {WRAPPED: 1}}, {WRAPPED: 1, "more": 2}]
)
def test_a_payload_that_looks_wrapped_comes_back_as_it_was(payload: Any) -> None:
    assert sent_payload(payload_json(payload)) == payload


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5000])
def test_a_number_that_nothing_can_hold_is_judged_with_its_event(number: str) -> None:
    given = documents(f'[{json.dumps(GOOD)}, {{"dpu_id": "283", "direction": {number}}}]'.encode())
    parsed = parse(*given)
    assert len(parsed.events) == 1
    (rejected,) = parsed.rejected
    assert json.loads(payload_json(rejected.payload))["direction"] == number
