"""What a topic pattern takes, and which DPU it names."""

from __future__ import annotations

import pytest

from occupancy.errors import InvalidInput
from occupancy.mqtt import Topic


@pytest.mark.parametrize(
    ("pattern", "subscribed", "topic", "dpu_id"),
    [
        ("dpus/{dpu_id}/events", "dpus/+/events", "dpus/283/events", "283"),
        ("dpus/{dpu_id}/events", "dpus/+/events", "dpus//events", ""),
        ("{dpu_id}", "+", "283", "283"),
        ("site/+/{dpu_id}/#", "site/+/+/#", "site/a/283/x/y", "283"),
        ("site/+/{dpu_id}/#", "site/+/+/#", "site/a/283", "283"),
        ("events", "events", "events", None),
        ("#", "#", "a/b", None),
        ("$private/{dpu_id}", "$private/+", "$private/1", "1"),
    ],
)
def test_what_matches_names_its_dpu(pattern: str, subscribed: str, topic: str, dpu_id: str | None) -> None:
    parsed = Topic.parse(pattern)
    assert parsed.filter == subscribed
    assert parsed.matches(topic)
    assert parsed.dpu_id(topic) == dpu_id


@pytest.mark.parametrize(
    ("pattern", "topic"),
    [
        ("dpus/{dpu_id}/events", "dpus/283"),
        ("dpus/{dpu_id}/events", "dpus/283/events/more"),
        ("dpus/{dpu_id}/events", "other/283/events"),
        ("site/{dpu_id}/#", "site"),
        ("#", "$SYS/broker"),
        ("{dpu_id}/x", "$SYS/x"),
    ],
)
def test_what_does_not_match(pattern: str, topic: str) -> None:
    assert not Topic.parse(pattern).matches(topic)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "a/#/b",
        "a+/b",
        "a/b#",
        "{dpu_id}/{dpu_id}",
        "dpu-{dpu_id}/events",
        "a\0b",
        "$share/g/a",
        "é" * 40_000,
    ],
)
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Topic.parse(pattern)
    assert caught.value.field == "OCCUPANCY_MQTT_TOPIC"
