"""What a request carries, in every form and encoding; what it claims to be and is not."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import zstandard

from occupancy.errors import InvalidInput, Overloaded, TooLarge, UnsupportedMedia
from occupancy.ingest.body import content_type, decompressed, parse_body
from occupancy.ingest.limit import RateLimit
from occupancy.parse import Clock, Parsed

CLOCK = Clock(datetime(2026, 3, 2, 12, 0, tzinfo=UTC), timedelta(minutes=5), datetime(2000, 1, 1, tzinfo=UTC))
GOOD: dict[str, Any] = {"dpu_id": "283", "timestamp": "2026-03-02T11:00:00Z", "direction": 1}
CLOUD: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/x", "type": "crossing", "data": GOOD}
BODY = json.dumps([GOOD]).encode() * 50


def parse(body: bytes, kind: str = "application/json", most: int = 100) -> Parsed:
    return parse_body(body, kind, CLOCK, most)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "body",
    [
        encoded(GOOD),
        encoded([GOOD]),
        b" \n" + encoded([GOOD]),
        encoded({"events": [GOOD]}),
        encoded(CLOUD),
        encoded([CLOUD]),
        encoded({"events": [CLOUD]}),
        encoded(GOOD | {"note": "no events here"}),
        encoded(GOOD | {"events ": 1}),
    ],
)
def test_every_form_of_json_holds_the_event(body: bytes) -> None:
    parsed = parse(body)
    assert (parsed.events.indexes, parsed.events.dpu_ids, parsed.rejected) == ([0], ["283"], [])


@pytest.mark.parametrize("body", [b"[]", b'{"events": []}'])
def test_there_may_be_no_event(body: bytes) -> None:
    assert len(parse(body)) == 0


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b"[", b"x", b"[1,]", b'["\xff"]', b'{"events": 1}', b"{}x"]
)
def test_json_that_is_none_is_refused_whole(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse(body)


def test_json_that_is_no_event_is_one_that_is_kept_aside() -> None:
    for body in (b"1", b"{}", b'"x"', b"[{}]"):
        assert [event.code for event in parse(body).rejected] in (["invalid_event"], ["missing_field"])


def test_a_value_that_only_some_readers_take_fails_alone() -> None:
    odd = b'{"dpu_id":"283","timestamp":"2026-03-02T11:00:00Z","direction":1,"note":"\\ud800"}'
    parsed = parse(b"[" + odd + b",{}," + encoded(GOOD) + b"]")
    assert sorted(parsed.events.indexes) == [0, 2]
    assert [event.index for event in parsed.rejected] == [1]


def test_lines_are_judged_one_by_one() -> None:
    lines = b"\n".join([encoded(GOOD), b"", b"{", encoded(CLOUD), b"  ", encoded(GOOD) + b"\r", b""])
    parsed = parse(lines, "application/x-ndjson")
    assert parsed.events.indexes == [0, 2, 3]
    assert [(event.index, event.code) for event in parsed.rejected] == [(1, "invalid_json")]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (encoded([GOOD] * 3), "application/json"),
        (encoded({"events": [GOOD] * 3}), "application/json"),
        (b"\n".join([encoded(GOOD)] * 3), "application/x-ndjson"),
        (b"[NaN, 1, 2]", "application/json"),
    ],
)
def test_too_many_events_are_refused_whole(body: bytes, kind: str) -> None:
    with pytest.raises((TooLarge, InvalidInput)):
        parse(body, kind, most=2)


@pytest.mark.parametrize(
    "header", ["application/json", "Application/JSON; charset=utf-8", "application/x-ndjson",
               "application/cloudevents+json", "application/cloudevents-batch+json"]
)  # fmt: skip
def test_a_type_that_is_read_is_known(header: str) -> None:
    assert content_type(header) == header.partition(";")[0].lower()


@pytest.mark.parametrize(
    "header", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_type_that_a_page_from_elsewhere_could_send_is_refused(header: str) -> None:
    with pytest.raises(UnsupportedMedia) as caught:
        content_type(header)
    assert (caught.value.field, caught.value.value) == ("Content-Type", header)


def two_frames(compress: Any) -> bytes:
    return bytes(compress(BODY[:100]) + compress(BODY[100:]))


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", "zstd", "", "identity"])
@pytest.mark.parametrize("whole", [True, False], ids=["one frame", "two frames"])
def test_a_body_is_decoded(encoding: str, whole: bool) -> None:
    ways: dict[str, Any] = {"": bytes, "i": bytes, "z": zstandard.compress}
    compress = ways.get(encoding[:1], gzip.compress)
    sent = compress(BODY) if whole else two_frames(compress)
    assert decompressed(sent, encoding, len(BODY)) == BODY
    if encoding not in {"", "identity"}:
        with pytest.raises(TooLarge):
            decompressed(sent, encoding, len(BODY) - 1)


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_a_body_that_is_cut_off_or_something_else_is_refused(encoding: str, compress: Any) -> None:
    sent = compress(BODY)
    for broken in (sent[:-1], sent[: len(sent) // 2], b"x" + sent, BODY, sent + b"x"):
        with pytest.raises(InvalidInput):
            decompressed(broken, encoding, 10**6)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zstandard.compress(bytes(50 * 2**20))
    assert len(bomb) < 10_000
    with pytest.raises(TooLarge):
        decompressed(bomb, "zstd", 1000)


def test_an_encoding_that_is_not_read_is_named() -> None:
    with pytest.raises(UnsupportedMedia) as caught:
        decompressed(b"", "br", 10)
    assert (caught.value.field, caught.value.value) == ("Content-Encoding", "br")


class Clockwork:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_caller_may_send_its_rate_and_a_burst() -> None:
    clock = Clockwork()
    limit = RateLimit(10, clock)
    limit.take(1, 60)
    limit.take(1, 40)
    with pytest.raises(Overloaded) as caught:
        limit.take(1, 5)
    assert caught.value.retry_after == pytest.approx(0.5)
    limit.take(2, 100)
    clock.seconds += 0.5
    limit.take(1, 5)
    with pytest.raises(Overloaded):
        limit.take(1, 1)


def test_a_request_larger_than_the_burst_is_let_through_once_the_bucket_is_full_and_is_paid_for() -> None:
    clock = Clockwork()
    limit = RateLimit(10, clock)
    limit.take(1, 300)
    clock.seconds += 19
    with pytest.raises(Overloaded):
        limit.take(1, 1)
    clock.seconds += 2
    limit.take(1, 1)


def test_without_a_rate_there_is_no_limit() -> None:
    limit = RateLimit(None)
    for _ in range(100):
        limit.take(1, 10_000)


def test_what_was_refused_all_the_same_costs_nothing() -> None:
    limit = RateLimit(10, Clockwork())
    with pytest.raises(Overloaded, match="full"), limit.taking(1, 100):
        raise Overloaded("full")
    with limit.taking(1, 100):
        pass
    with pytest.raises(Overloaded):
        limit.take(1, 1)


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_a_body_of_very_many_parts_is_refused(encoding: str, compress: Any) -> None:
    with pytest.raises(InvalidInput, match="parts"):
        decompressed(compress(b"") * 200_000, encoding, 10**6)


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_a_body_may_have_a_thousand_parts(encoding: str, compress: Any) -> None:
    part = compress(b"x")
    assert decompressed(part * 1_000, encoding, 10**6) == b"x" * 1_000
    with pytest.raises(InvalidInput, match="more than 1000 parts"):
        decompressed(part * 1_001, encoding, 10**6)
