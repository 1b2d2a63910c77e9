"""Each event is judged by itself; what is rejected keeps its payload and gets a code."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from occupancy.errors import InvalidInput
from occupancy.parse import (
    WRAPPED,
    Clock,
    Parsed,
    documents,
    parse_events,
    parse_messages,
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
    events = parse(GOOD | {"seq": 7}).events
    assert (events.indexes, events.dpu_ids, events.directions, events.seqs) == ([0], ["283"], [1], [7])
    assert events.times == [datetime(2026, 3, 2, 11, 0, tzinfo=UTC)]


def test_an_event_without_seq_has_seq_0() -> None:
    assert parse(GOOD, GOOD | {"seq": None}).events.seqs == [0, 0]


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
    assert parsed.events.indexes == [0, 2]
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
        ("2026-03-02T11:00:00.123456789Z", "2026-03-02T11:00:00.123457+00:00"),
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


CLOUD_EVENT: dict[str, Any] = {
    "specversion": "1.0", "id": "1", "source": "/dpus/283", "type": "crossing", "data": GOOD
}  # fmt: skip


def messages(*given: Any) -> Parsed:
    return parse_messages([json.dumps(document).encode() for document in given], CLOCK)


def test_a_cloudevent_is_the_event_in_its_data() -> None:
    for parsed in (parse(GOOD, CLOUD_EVENT), messages(GOOD, CLOUD_EVENT)):
        assert parsed.events.times == [datetime(2026, 3, 2, 11, 0, tzinfo=UTC)] * 2
        assert parsed.events.dpu_ids == ["283", "283"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"specversion": "0.3"}, '"0.3"'),
        ({"specversion": 1}, "1"),
        ({"data": None}, "null"),
        ({"data": "x"}, '"x"'),
    ],
)
def test_a_cloudevent_that_holds_no_event_is_rejected(change: dict[str, Any], named: str) -> None:
    for parsed in (parse(CLOUD_EVENT | change), messages(CLOUD_EVENT | change)):
        (rejected,) = parsed.rejected
        assert (rejected.code, rejected.payload) == ("invalid_cloudevent", CLOUD_EVENT | change)
        assert named in rejected.detail


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff\x00", b"NaN", b"[" * 100_000])
def test_a_message_that_is_not_json_is_kept_as_text(payload: bytes) -> None:
    good = json.dumps(GOOD).encode()
    parsed = parse_messages([good, payload, good], CLOCK)
    assert parsed.events.indexes == [0, 2]
    (rejected,) = parsed.rejected
    assert (rejected.index, rejected.code) == (1, "invalid_json")
    assert payload_json(rejected.payload)


_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "dpu_id": st.sampled_from(["283", "", "x" * 200, "x" * 201, "a\x00b", "a\nb", "\ud800", "ü", 283, None]),
    "timestamp": st.sampled_from(
        ["2026-03-02T11:00:00Z", "2026-03-02t11:00:00.1234567891z", "2026-03-02 12:00:00+01:00",
         "2026-03-02T11:00:00", "2026-02-30T11:00:00Z", "2026-03-02T23:59:60Z", "2026-03-02T12:05:00Z",
         "2026-03-02T12:05:00.000001Z", "1999-12-31T23:59:59.9999999Z", "0001-01-01T00:00:00+14:00",
         "9999-12-31T23:59:59.9999999-14:00", "2026-03-02T11:00:00+0100", 1772449200, None]
    ),
    "direction": st.sampled_from([1, -1, 0, 2, 1.0, True, "1", None]),
    "seq": st.sampled_from([0, 7, 2**63 - 1, 2**63, -1, 7.0, "7", True, None]),
    "specversion": st.sampled_from(["1.0", "x", None]),
    "note": st.sampled_from(["\ud800", 1, [{}], {"a": None}]),
}  # fmt: skip
_EVENT = st.fixed_dictionaries({}, optional=_FIELDS) | st.fixed_dictionaries(
    {"dpu_id": st.just("1"), "timestamp": _FIELDS["timestamp"], "direction": st.sampled_from([1, -1])},
    optional={"seq": _FIELDS["seq"], "specversion": _FIELDS["specversion"]},
)
_ONE_CHANGED = st.one_of(
    *(
        st.fixed_dictionaries({name: values}).map(lambda change: GOOD | change)
        for name, values in _FIELDS.items()
    )
)
_CLOUD_EVENT = st.fixed_dictionaries(
    {"specversion": st.sampled_from(["1.0", "2", 1, None]), "data": _EVENT | _ONE_CHANGED | st.none()},
    optional={"id": st.just("1")},
)


@settings(max_examples=500)
@given(st.lists(_EVENT | _ONE_CHANGED | _CLOUD_EVENT | st.sampled_from([None, 1, "x", []]), max_size=6))
def test_the_quick_way_says_what_a_close_look_says(given: list[Any]) -> None:
    quick, close = messages(*given), parse(*given)
    assert quick.rejected == close.rejected
    columns = zip(
        quick.events.indexes, quick.events.dpu_ids, quick.events.times, quick.events.directions, quick.events.seqs,
        strict=True,
    )  # fmt: skip
    assert sorted(columns) == list(
        zip(
            close.events.indexes, close.events.dpu_ids, close.events.times, close.events.directions, close.events.seqs,
            strict=True,
        )
    )  # fmt: skip


@pytest.mark.parametrize("depth", [63, 64, 65, 900, 990, 1000, 1100, 5000])
def test_what_is_nested_deeply_is_kept_as_text_and_can_be(depth: int) -> None:
    nested = b'{"dpu_id":' * depth + b"1" + b"}" * depth
    (rejected,) = parse_messages([nested], CLOCK).rejected
    assert rejected.code == ("invalid_dpu_id" if depth < 64 else "invalid_json")
    assert payload_json(rejected.payload)
    if depth >= 64:
        with pytest.raises(InvalidInput):
            documents(nested)


def test_an_event_with_deep_nesting_where_nobody_looks_is_good() -> None:
    sent = json.dumps(GOOD)[:-1].encode() + b',"note":' + b"[" * 500 + b"]" * 500 + b"}"
    assert len(parse_messages([sent], CLOCK).events) == 1
