"""What the counts must be, while messages are on their way."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from occupancy.load import Phase, Plan, Site
from occupancy.load.http import Answer
from occupancy.load.ledger import Ledger
from occupancy.load.schedule import Schedule
from occupancy.load.truth import Flow, Truth
from occupancy.load.verdict import Fate, judge
from tests.load.service import Service
from tests.load.test_schedule import START, taken

DPUS = 90  # 23 rooms, the last with two doors; three floors


def test_sums_follow_from_what_every_dpu_does_to_every_space() -> None:
    site = Site(DPUS)
    schedule, ledger, messages = taken(Plan(DPUS, (Phase(20, 40),), late=0.3, max_delay=9, duplicates=0.1))
    truth = Truth(site, schedule, ledger)
    other = Service()  # which has the topology from elsewhere
    for _, event in messages:
        ledger.send([event])
        if event % 3:
            ledger.acknowledge([event], 1.0)
            at = datetime.fromtimestamp(ledger.times[event] / 1e6, UTC)
            other.store((site.dpu_id(schedule.dpu(event)), at, event), ledger.directions[event])
        else:
            ledger.refuse([event])
    assert (site.rooms, site.floors, site.spaces) == (23, 3, 26)
    for until in (START - 10_000_000, START + 3_000_000, START + 30_000_000):
        at = datetime.fromtimestamp(until / 1e6, UTC)
        for space in range(site.spaces):
            count = other.count(site.space_id(space), at)
            expected = Flow(count["entries"], count["exits"])
            assert truth.certain(space, until, math.inf) == expected
            assert truth.possible(space, until) == expected
    assert sum(len(site.dpus_of(room)) for room in range(23)) == DPUS
    assert sum(len(site.dpus_of(floor)) for floor in range(23, 26)) == DPUS


def _one_event() -> tuple[Ledger, Truth]:
    ledger = Ledger()
    schedule = Schedule(Plan(1, (Phase(1, 1),)), ledger)
    ledger.add(START, 1)
    return ledger, Truth(Site(1), schedule, ledger)


def test_an_event_on_its_way_may_be_counted_and_need_not_be() -> None:
    ledger, truth = _one_event()
    seen = []

    def note() -> None:
        seen.append((truth.certain(0, START, math.inf).entries, truth.possible(0, START).entries))

    note()  # not sent
    ledger.send([0])
    note()  # on its way
    ledger.refuse([0])
    note()  # refused
    ledger.send([0])
    ledger.lose([0])
    note()  # lost: for ever unknown
    ledger.send([0])
    ledger.acknowledge([0], 5.0)
    note()
    assert seen == [(0, 0), (0, 1), (0, 0), (0, 1), (1, 1)]
    assert truth.certain(0, START, 4.9) == Flow(0, 0), "acknowledged after the instant asked about"
    assert truth.possible(0, START - 1) == Flow(0, 0), "before it happened"
    assert ledger.distinct == 1


def test_an_event_that_is_on_its_way_twice_stays_possible_when_one_is_refused() -> None:
    ledger, truth = _one_event()
    ledger.send([0, 0])
    ledger.refuse([0])
    assert truth.possible(0, START) == Flow(1, 0)
    ledger.acknowledge([0], 1.0)
    assert truth.certain(0, START, 1.0) == Flow(1, 0)


def test_what_an_answer_says() -> None:
    usual = judge(Answer(200, b'{"accepted":1,"duplicates":0,"rejected":[]}'), 1)
    assert (usual.fate, usual.accepted, usual.duplicates) == (Fate.ACKNOWLEDGED, 1, 0)
    mixed = judge(
        Answer(200, b'{"accepted":1, "duplicates":1, "rejected":[{"index":2,"code":"x","detail":"y"}]}'), 3
    )
    assert (mixed.fate, mixed.accepted, mixed.duplicates, mixed.rejected) == (
        Fate.ACKNOWLEDGED,
        1,
        1,
        {2: "x"},
    )
    queued = judge(Answer(202, b'{"queued":2,"rejected":[]}'), 2)
    assert (queued.fate, queued.accepted, queued.label) == (Fate.ACKNOWLEDGED, 2, "202")
    refused = judge(Answer(429, b"", retry_after=3.0), 1)
    assert (refused.fate, refused.retry_after) == (Fate.REFUSED, 3.0)
    assert judge(Answer(422), 1).fate is Fate.FAILED
    assert judge(Answer(0, lost="reset"), 1).fate is Fate.UNKNOWN
    assert judge(Answer(0, lost="reset", stale=True), 1).fate is Fate.STALE
    # The commit may have happened.
    for status in (500, 502, 503, 408):
        assert judge(Answer(status), 1).fate is Fate.UNKNOWN
    # What tells of fewer or more events than were sent says nothing.
    for body in (
        b"",
        b"[]",
        b'{"accepted":1,"duplicates":1,"rejected":[]}',
        b'{"accepted":0,"duplicates":0}',
    ):
        assert judge(Answer(200, body), 1).fate is Fate.UNKNOWN
