"""When messages are due, and what they say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from occupancy.errors import InvalidInput
from occupancy.load import UNPACED, Phase, Plan, Site
from occupancy.load.ledger import Ledger
from occupancy.load.messages import Messages
from occupancy.load.schedule import Schedule

START = 1_770_000_000_000_000
SECOND = 1_000_000


def taken(plan: Plan) -> tuple[Schedule, Ledger, list[tuple[float, int]]]:
    """All messages: when each was due, and its event."""
    ledger = Ledger()
    schedule = Schedule(plan, ledger)
    schedule.start = START
    messages = []
    while (due := schedule.due) is not None:
        messages.append((due, schedule.take(due)))
    return schedule, ledger, messages


def test_one_message_falls_into_each_slot() -> None:
    _, _, messages = taken(Plan(700, (Phase(3, 1000),)))
    assert len(messages) == 3000
    for slot, (due, _) in enumerate(messages):
        assert slot / 1000 <= due < (slot + 1) / 1000


def test_phases_follow_each_other_at_their_own_rates() -> None:
    _, _, messages = taken(Plan(10, (Phase(2, 100), Phase(3, 10), Phase(1, 500))))
    numbers = Counter(int(due) for due, _ in messages)
    assert numbers == {0: 100, 1: 100, 2: 10, 3: 10, 4: 10, 5: 500}
    assert [due for due, _ in messages] == sorted(due for due, _ in messages)


def test_every_dpu_sends_once_in_a_round_and_numbers_its_messages() -> None:
    schedule, ledger, _ = taken(Plan(50, (Phase(3, 50),)))
    for turn in range(3):
        messages = range(turn * 50, turn * 50 + 50)
        assert {schedule.dpu(message) for message in messages} == set(range(50))
        assert {schedule.seq(message) for message in messages} == {turn + 1}
    assert schedule.order != list(range(50)), "neighbours send one after the other"
    assert set(ledger.directions) == {1, -1}


def test_the_same_seed_makes_the_same_messages_and_another_seed_others() -> None:
    def everything(seed: int) -> Any:
        plan = Plan(30, (Phase(5, 200),), late=0.1, duplicates=0.1, out_of_order=0.1, seed=seed)
        schedule, ledger, messages = taken(plan)
        return schedule.order, list(ledger.times), list(ledger.directions), messages

    assert everything(7) == everything(7)
    first, second = everything(7), everything(8)
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_an_event_is_as_old_as_its_share_says() -> None:
    plan = Plan(100, (Phase(10, 2000),), late=0.1, max_delay=600, duplicates=0.05, out_of_order=0.2)
    _, ledger, messages = taken(plan)
    repeated = late = before_the_last = 0
    for number, (due, event) in enumerate(messages):
        if event != number:
            repeated += 1
            continue
        delay = START + int(due * SECOND) - ledger.times[number]
        assert 0 <= delay <= 600 * SECOND
        last = number - 100
        if last >= 0 and 0 < ledger.times[last] - ledger.times[number] <= SECOND:
            before_the_last += 1
        elif delay:
            late += 1
    total = len(messages)
    assert repeated == pytest.approx(0.05 * total, rel=0.1)
    assert late == pytest.approx(0.1 * total, rel=0.1)
    assert before_the_last == pytest.approx(0.2 * total, rel=0.1)


def test_a_repeated_message_is_one_of_the_last_ten_seconds() -> None:
    _, ledger, messages = taken(Plan(100, (Phase(30, 100),), duplicates=0.5))
    repeats = [(number, event) for number, (_, event) in enumerate(messages) if event != number]
    assert len(repeats) > 1000
    for number, event in repeats:
        assert event < number
        assert ledger.directions[event], "a repeat of a repeat"
        assert not ledger.directions[number]
    # where a repeat would repeat a repeat, it goes back to the event before it
    assert max(number - event for number, event in repeats) <= 1000 + 50
    assert len({event for _, event in repeats}) > 500


def test_without_a_pace_the_caller_says_when() -> None:
    ledger = Ledger()
    schedule = Schedule(Plan(3, (Phase(1, UNPACED),)), ledger)
    schedule.start = START
    assert [schedule.take(due) for due in (0.0, 0.5, 7.25)] == [0, 1, 2]
    assert list(ledger.times) == [START, START + SECOND // 2, START + 7 * SECOND + SECOND // 4]


def test_a_message_as_it_is_sent() -> None:
    plan = Plan(1, (Phase(2, 1),), seed=3)
    schedule, ledger, _ = taken(plan)
    ledger.times[0], ledger.directions[0] = START + 42, -1
    ledger.times[1], ledger.directions[1] = START - 1, 1
    messages = Messages(Site(1, "here"), schedule, ledger)
    assert messages.body([0]) == (
        b'{"dpu_id":"here-dpu-0","timestamp":"2026-02-02T02:40:00.000042Z","direction":-1,"seq":1}'
    )
    assert messages.body([1, 0]) == (
        b'{"events":[{"dpu_id":"here-dpu-0","timestamp":"2026-02-02T02:39:59.999999Z","direction":1,"seq":2},'
        b'{"dpu_id":"here-dpu-0","timestamp":"2026-02-02T02:40:00.000042Z","direction":-1,"seq":1}]}'
    )
    assert messages.key(1) == b"here-dpu-0"


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("dpus", {"dpus": 0}),
        ("rate", {"phases": ()}),
        ("rate", {"phases": (Phase(1, 0),)}),
        ("duration", {"phases": (Phase(0, 1),)}),
        ("rate", {"phases": (Phase(1, 1), Phase(1, UNPACED))}),
        ("late", {"late": 1.5}),
        ("duplicates", {"duplicates": -0.1}),
        ("late", {"late": 0.5, "out_of_order": 0.6}),
        ("max_delay", {"max_delay": -1}),
        ("batch_size", {"batch_size": 0}),
        ("warm_up", {"warm_up": 1}),
    ],
)
def test_what_no_load_can_be_is_refused_by_name(field: str, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        replace(Plan(1, (Phase(1, 1),)), **given)
    assert refused.value.field == field


def test_a_prefix_that_would_spoil_a_list_of_ids_is_refused() -> None:
    for prefix in ("", "a,b", 'a"b', "a%d", "a b", "é", "x" * 101):
        with pytest.raises(InvalidInput):
            Site(1, prefix)
