"""Numbers of events and reconciliation in SQL, against plain loops, and against what a device really did."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.effort import examples
from tests.sql.seq_model import (
    HOUR,
    Beat,
    Break,
    Event,
    Report,
    Tally,
    breaks,
    may_still_come,
    observed,
    reconciled,
)

START = datetime(2026, 3, 2, 22, tzinfo=UTC)
END = START + 5 * HOUR
# Of another DPU, which must not be counted.
NOISE = 4711

_minutes = st.integers(-120, 420).map(lambda minute: START + timedelta(minutes=minute))
_edges = st.sampled_from([START, START + HOUR, START + 2 * HOUR, END - timedelta(microseconds=1), END])
_numbers = st.integers(0, 12) | st.integers(95, 130) | st.integers(1_000, 1_005)
_events = st.builds(Event, at=_minutes | _edges, seq=_numbers, direction=st.sampled_from([1, -1]))
# Nothing else is in the unique index.
_stored = st.lists(_events, max_size=14, unique_by=lambda event: (event.at, event.seq))
_beats = st.none() | st.tuples(_minutes | _edges, _numbers)


@st.composite
def _reports(draw: st.DrawFn) -> list[Report]:
    """Of quarters, hours and more, as a device may say them; one for a range."""
    found = {}
    for _ in range(draw(st.integers(0, 10))):
        start = START + draw(st.integers(-8, 22)) * HOUR / 4
        end = start + draw(st.sampled_from([1, 1, 2, 3, 4, 4, 4, 8, 20])) * HOUR / 4
        found[start, end] = Report(start, end, draw(st.integers(0, 4)))
    for hour in draw(st.sets(st.integers(0, 4), max_size=3)):
        for quarter in range(4):
            start = START + hour * HOUR + quarter * HOUR / 4
            found[start, start + HOUR / 4] = Report(start, start + HOUR / 4, draw(st.integers(0, 2)))
    return list(found.values())


async def _fill(
    connection: asyncpg.Connection, events: Sequence[Event], reports: Sequence[Report], beat: Beat | None
) -> int:
    """A DPU that has these; its number."""
    await connection.execute("TRUNCATE occupancy.crossing, occupancy.sent_report, occupancy.heartbeat")
    dpu: int = await connection.fetchval(
        "INSERT INTO occupancy.dpu (organization, dpu_id, name) VALUES (1, 'numbered', '') "
        "ON CONFLICT ON CONSTRAINT dpu_id_is_taken DO UPDATE SET name = '' RETURNING id"
    )
    await connection.executemany(
        "INSERT INTO occupancy.crossing (time, dpu, seq, direction) VALUES ($1, $2, $3, $4)",
        [(event.at, dpu, event.seq, event.direction) for event in events]
        + [(START + HOUR / 2, NOISE, 50, 1), (START + HOUR, NOISE, 60, -1)],
    )
    await connection.executemany(
        "INSERT INTO occupancy.sent_report (dpu, from_time, to_time, events, stated_at) "
        "VALUES ($1, $2, $3, $4, $3)",
        [(dpu, report.start, report.end, report.events) for report in reports]
        + [(NOISE, START, START + HOUR, 9)],
    )
    if beat is not None:
        await connection.execute(
            "INSERT INTO occupancy.heartbeat (dpu, time, received_at, sent_at, heard_at, seq) "
            "VALUES ($1, $2, $2, $2, $2, $3)",
            dpu,
            *beat,
        )
    return dpu


async def _hours(connection: asyncpg.Connection, dpu: int) -> list[Tally]:
    """The hours, and last the range as a whole."""
    rows = await connection.fetch("SELECT * FROM occupancy.reconciliation($1, $2, $3)", dpu, START, END)
    assert [row["hour"] for row in rows] == [START + step * HOUR for step in range(5)] + [None]
    return [
        Tally(**{name: value for name, value in row.items() if name not in {"hour", "rejected"}})
        for row in rows
    ]


_SLOW = settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(events=_stored, beat=_beats)
@_SLOW
async def test_breaks_are_those_of_the_model(
    connection: asyncpg.Connection, events: list[Event], beat: Beat | None
) -> None:
    dpu = await _fill(connection, events, [], beat)
    rows = await connection.fetch("SELECT * FROM occupancy.seq_breaks($1, $2, $3)", dpu, START, END)
    found = sorted(Break(*row.values()) for row in rows)
    expected = breaks(observed(events, beat, START, END))
    assert found == expected
    row = await connection.fetchrow("SELECT * FROM occupancy.seq_summary($1, $2, $3)", dpu, START, END)
    assert row is not None
    inside = [event.seq for event in events if START <= event.at < END]
    pending = [one.missing for one in expected if one.kind == "pending"]
    assert tuple(row) == (
        sum(seq > 0 for seq in inside),
        sum(seq == 0 for seq in inside),
        min((seq for seq in inside if seq), default=None),
        max((seq for seq in inside if seq), default=None),
        sum(one.missing for one in expected if one.kind != "pending"),
        sum(one.kind == "gap" for one in expected),
        sum(one.kind == "restart" for one in expected),
        sum(one.kind == "disorder" for one in expected),
        sum(pending) if pending else None,
    )


@given(events=_stored, reports=_reports(), beat=_beats)
@_SLOW
async def test_a_reconciliation_is_that_of_the_model(
    connection: asyncpg.Connection, events: list[Event], reports: list[Report], beat: Beat | None
) -> None:
    dpu = await _fill(connection, events, reports, beat)
    *hours, total = await _hours(connection, dpu)
    expected_hours, expected_total, others = reconciled(events, reports, beat, START, END)
    assert hours == expected_hours
    assert total == expected_total
    rows = await connection.fetch("SELECT * FROM occupancy.other_reports($1, $2, $3, 1000)", dpu, START, END)
    assert sorted(tuple(row) for row in rows) == sorted(
        (
            report.start,
            report.end,
            report.events,
            stored := sum(report.start <= event.at < report.end for event in events),
            None if may_still_come(report, stored, events, beat, START, END) else stored == report.events,
        )
        for report in others
    )


@given(data=st.data())
@_SLOW
async def test_what_is_said_to_be_missing_is_what_a_device_lost(
    connection: asyncpg.Connection, data: st.DataObject
) -> None:
    """A device counts from 1, now and then it restarts, and some events are lost. No answer may be wrong."""
    sent: list[Event] = []
    stored: list[Event] = []
    seq = data.draw(st.sampled_from([0, 0, 500]))
    at = START - 2 * HOUR
    while at < END + HOUR:
        at += timedelta(minutes=data.draw(st.integers(1, 50)), seconds=7)
        seq = 1 if data.draw(st.integers(0, 9)) == 0 else seq + 1
        event = Event(at, seq)
        sent.append(event)
        if data.draw(st.integers(0, 3)):
            # Where a restart loses as many as to go on as if nothing had been, nobody can see it.
            last = stored[-1] if stored else None
            between = [other for other in sent if last and other.at > last.at]
            assume(last is None or event.seq <= last.seq or all(one.seq > 1 for one in between))
            stored.append(event)
    dpu = await _fill(connection, stored, [], None)
    *hours, total = await _hours(connection, dpu)
    spans = [(START + step * HOUR, START + (step + 1) * HOUR) for step in range(5)] + [(START, END)]
    for (start, end), tally in zip(spans, [*hours, total], strict=True):
        really = sum(start <= event.at < end for event in sent)
        assert tally.stored == sum(start <= event.at < end for event in stored)
        if tally.missing is not None:
            assert tally.missing == really - (tally.stored or 0)
        if tally.matches is not None:
            assert tally.matches == (really == tally.stored)


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


@pytest.mark.parametrize(
    ("seqs", "kinds", "missing"),
    [
        ([7, 8, 9], [], 0),
        ([7, 9, 13], ["gap", "gap"], 4),
        # begins anew, at 0 or 1: not a gap
        ([998, 999, 1, 2], ["restart"], 0),
        ([998, 999, 0, 1, 2], ["restart"], 0),
        ([3, 4, 1, 2], ["restart"], 0),
        ([1, 1, 1], ["restart", "restart"], 0),
        # begins anew, and its first three are lost
        ([998, 999, 4, 5], ["restart"], 3),
        # lower by 100: begins anew; lower by less: out of order
        ([249, 250, 150, 151], ["restart"], 149),
        ([249, 250, 151, 152], ["disorder", "disorder", "gap"], 96),
        # the clock was set back by some seconds
        ([101, 102, 105, 103, 106, 104, 107], ["disorder", "disorder"], 0),
        ([101, 102, 105, 103, 107], ["gap", "gap", "disorder"], 2),
        # no numbers
        ([0, 0, 0], [], 0),
    ],
)
async def test_examples(
    connection: asyncpg.Connection, seqs: list[int], kinds: list[str], missing: int
) -> None:
    dpu = await _fill(connection, [Event(at(place), seq) for place, seq in enumerate(seqs)], [], None)
    rows = await connection.fetch("SELECT * FROM occupancy.seq_breaks($1, $2, $3)", dpu, START, END)
    assert sorted(row["kind"] for row in rows) == sorted(kinds)
    assert sum(row["missing"] for row in rows) == missing


async def test_numbers_that_make_no_sense_do_no_harm(connection: asyncpg.Connection) -> None:
    largest = 2**63 - 1
    seqs = [1, largest, 1, largest]
    dpu = await _fill(
        connection, [Event(at(place), seq) for place, seq in enumerate(seqs)], [], (at(9), largest)
    )
    row = await connection.fetchrow("SELECT * FROM occupancy.seq_summary($1, $2, $3)", dpu, START, END)
    assert row is not None
    assert (row["missing"], row["gaps"], row["restarts"], row["pending"]) == (largest, 2, 1, None)
    assert (await _hours(connection, dpu))[0].seq_missing == largest


async def test_a_gap_reaches_over_any_silence(connection: asyncpg.Connection) -> None:
    long_ago = START - timedelta(days=400)
    dpu = await _fill(connection, [Event(long_ago, 10), Event(at(5), 14)], [], None)
    rows = await connection.fetch("SELECT * FROM occupancy.seq_breaks($1, $2, $3)", dpu, START, END)
    assert [(row["missing"], row["after_time"]) for row in rows] == [(3, long_ago)]
    hours = await _hours(connection, dpu)
    assert (hours[0].seq_missing, hours[0].seq_missing_before, hours[0].missing) == (0, 3, None)


async def test_where_events_were_dropped_nobody_knows(connection: asyncpg.Connection) -> None:
    """Also while they are still there, but about to be dropped."""
    events = [Event(at(5), 1), Event(at(50), 2), Event(at(70), 5), Event(at(80), 1), Event(at(130), 2)]
    reports = [Report(START, START + HOUR, 2), Report(START + HOUR, START + 2 * HOUR, 2)]
    reports.append(Report(START, START + 2 * HOUR, 4))
    dpu = await _fill(connection, events, reports, None)
    kept = (await _hours(connection, dpu))[:2]
    assert [(hour.stored, hour.matches) for hour in kept] == [(2, True), (2, True)]
    await connection.execute("BEGIN")
    try:
        await connection.execute(
            "UPDATE occupancy.horizon SET write_before = $1, read_before = $1, dropped_before = $1",
            START + HOUR + HOUR / 4,
        )
        *hours, total = await _hours(connection, dpu)
        summary = await connection.fetchrow(
            "SELECT * FROM occupancy.seq_summary($1, $2, $3)", dpu, START, END
        )
        others = await connection.fetch(
            "SELECT stored, matches FROM occupancy.other_reports($1, $2, $3, 9)", dpu, START, END
        )
    finally:
        await connection.execute("ROLLBACK")
    nothing = [None] * 9
    for row in (*hours[:2], total):
        assert [
            row.stored,
            row.towards,
            row.away,
            row.seq_lowest,
            row.seq_highest,
            row.seq_missing,
            row.restarts,
            row.missing,
            row.matches,
        ] == nothing
    assert (hours[0].reported, hours[2].stored, hours[2].seq_missing) == (2, 1, 0)
    assert [tuple(other) for other in others] == [(None, None)]
    assert summary is not None
    assert (summary["stored"], summary["lowest"], summary["highest"], summary["restarts"]) == (2, 1, 2, 0)


async def test_old_reports_are_dropped_by_the_chunk(connection: asyncpg.Connection) -> None:
    now = datetime.now(UTC)
    old = now - timedelta(days=110)
    dpu = await _fill(
        connection, [], [Report(old, old + HOUR, 1), Report(now - 2 * HOUR, now - HOUR, 2)], None
    )
    await connection.execute("CALL occupancy.drop_sent_reports()")
    left = "SELECT array_agg(events) FROM occupancy.sent_report WHERE dpu = $1"
    assert await connection.fetchval(left, dpu) == [2]
    await connection.execute("""CALL occupancy.drop_sent_reports(0, '{"age": "-14 days"}')""")
    assert await connection.fetchval(left, dpu) is None


@pytest.mark.parametrize(
    ("seqs", "said", "beat", "pending", "matches"),
    [
        # three still wait in the device
        ([1, 2, 3, 4], 7, 7, 3, None),
        # it has fewer than are missing
        ([1, 2, 3, 4], 7, 6, 2, False),
        # a gap between two stored ones is lost, what is behind them is not
        ([1, 2, 3, 5], 7, 8, 2, False),
        ([1, 2, 3, 5], 7, 9, 2, False),
        # it says that it has no more, or does not say, or gives no numbers
        ([1, 2, 3, 4], 7, 4, 0, False),
        ([1, 2, 3, 4], 7, None, None, False),
        ([0, 0, 0, 0], 7, 7, None, False),
        # all are there, and more than all
        ([1, 2, 3, 4], 4, 9, 0, True),
        ([1, 2, 3, 4], 3, 9, 0, False),
    ],
)
async def test_what_may_still_come_is_not_lost(
    connection: asyncpg.Connection,
    seqs: list[int],
    said: int,
    beat: int | None,
    pending: int | None,
    matches: bool | None,
) -> None:
    events = [Event(at(place + 1), seq) for place, seq in enumerate(seqs)]
    reports = [Report(START, START + HOUR, said), Report(START, START + 2 * HOUR, said)]
    dpu = await _fill(connection, events, reports, None if beat is None else (at(61), beat))
    first, *_, total = await _hours(connection, dpu)
    assert (first.reported, first.missing) == (said, max(said - len(seqs), 0))
    assert (first.pending, first.matches) == (pending, matches)
    assert total.matches is (False if matches is False else None)
    # once an event behind them is stored, they are a gap
    await connection.execute(
        "INSERT INTO occupancy.crossing (time, dpu, seq, direction) VALUES ($1, $2, 20, 1)", at(70), dpu
    )
    later = (await _hours(connection, dpu))[0]
    assert later.pending is None
    assert later.matches is (said == len(seqs))


async def test_reports_of_other_ranges_wait_for_what_may_still_come(connection: asyncpg.Connection) -> None:
    events = [Event(at(place), place) for place in (1, 2, 3, 4)]
    reports = [Report(START, START + 2 * HOUR, said) for said in (7,)]
    reports += [Report(START, START + 3 * HOUR, 8), Report(START + HOUR, START + 3 * HOUR, 1)]
    reports.append(Report(START - 2 * HOUR, START + timedelta(minutes=3), 5))
    dpu = await _fill(connection, events, reports, (at(61), 7))
    rows = await connection.fetch("SELECT * FROM occupancy.other_reports($1, $2, $3, 9)", dpu, START, END)
    # 3 wait: as many as are missing, one fewer, one of them, and none of them before the last one that is stored
    assert {row["reported"]: row["matches"] for row in rows} == {7: None, 8: False, 1: None, 5: False}


async def test_what_is_held_is_not_called_lost(connection: asyncpg.Connection) -> None:
    # 2 is held, 5 is lost
    events = [Event(at(minute), seq) for minute, seq in ((1, 1), (3, 3), (61, 4), (63, 6))]
    spans = [(0, 1), (1, 1), (0, 0.5), (1, 0.5)]
    reports = [Report(START + first * HOUR, START + (first + hours) * HOUR, 3) for first, hours in spans]
    dpu = await _fill(connection, events, reports, None)
    await connection.executemany(
        "INSERT INTO occupancy.held_crossing (organization, dpu_id, time, direction, seq) "
        "VALUES (1, $1, $2, 1, 2)",
        [("numbered", at(2)), ("another", at(62)), ("numbered", END)],
    )

    async def judged() -> list[bool | None]:
        *hours, total = await _hours(connection, dpu)
        return [hours[0].matches, hours[1].matches, total.matches]

    async def others() -> list[bool | None]:
        rows = await connection.fetch(
            "SELECT matches FROM occupancy.other_reports($1, $2, $3, 9) ORDER BY said_from", dpu, START, END
        )
        return [row["matches"] for row in rows]

    async def say(events: int) -> None:
        await connection.execute("UPDATE occupancy.sent_report SET events = $1 WHERE dpu = $2", events, dpu)

    assert await judged() == [None, False, False]
    assert await others() == [None, False]
    # what is held may be one too many
    await say(2)
    assert await judged() == [None, True, None]
    assert await others() == [None, True]
    # more than it says is an error at once
    await say(1)
    assert await judged() == [False, False, False]
    assert await others() == [False, False]
    # by the numbers
    await connection.execute("DELETE FROM occupancy.sent_report WHERE dpu = $1", dpu)
    assert await judged() == [None, False, False]
    await connection.execute("UPDATE occupancy.crossing SET seq = 5 WHERE dpu = $1 AND seq = 6", dpu)
    assert await judged() == [None, None, None]
    await connection.execute("DELETE FROM occupancy.held_crossing")
    assert await judged() == [False, None, False]


async def test_what_is_young_is_not_called_lost(connection: asyncpg.Connection) -> None:
    """Of the hour that has not ended, and of a gap that an event on its way may fill."""
    now = await connection.fetchval("SELECT now()")
    hour = now.replace(minute=0, second=0, microsecond=0)
    old = hour - 3 * HOUR
    events = [Event(old, 1), Event(old + HOUR / 2, 2), Event(max(hour, now - timedelta(seconds=2)), 3)]
    reports = [Report(hour, hour + HOUR, 9), Report(old, old + HOUR, 2)]
    dpu = await _fill(connection, events, reports, None)
    statement = "SELECT hour, missing, matches FROM occupancy.reconciliation($1, $2, $3)"

    async def judged() -> dict[datetime | None, bool | None]:
        rows = await connection.fetch(statement, dpu, old, hour + HOUR)
        return {row["hour"]: row["matches"] for row in rows}

    found = await judged()
    assert (found[old], found[hour], found[None]) == (True, None, None)
    # more than it says is an error at once, and an hour that has long ended is judged
    await connection.execute("UPDATE occupancy.sent_report SET events = 0 WHERE dpu = $1 AND events = 9", dpu)
    assert (await judged())[hour] is False
    await connection.execute(
        "UPDATE occupancy.sent_report SET events = 9 - events WHERE dpu = $1 AND from_time IN ($2, $3)",
        dpu,
        old,
        hour,
    )
    found = await judged()
    assert (found[old], found[hour], found[None]) == (False, None, False)
    # gaps, where nothing is reported
    await connection.execute("TRUNCATE occupancy.sent_report")
    await connection.execute("DELETE FROM occupancy.crossing WHERE seq = 2")
    start, end = now - timedelta(minutes=20), now + HOUR
    young = "SELECT matches FROM occupancy.reconciliation($1, $2, $3) WHERE hour IS NULL"
    await connection.executemany(
        "INSERT INTO occupancy.crossing (time, dpu, seq, direction) VALUES ($1, $2, $3, 1)",
        [(now - timedelta(minutes=18), dpu, 10), (now - timedelta(seconds=1), dpu, 12)],
    )
    await connection.execute("DELETE FROM occupancy.crossing WHERE dpu = $1 AND seq = 3", dpu)
    assert await connection.fetchval(young, dpu, start, end) is None
    await connection.execute("UPDATE occupancy.crossing SET seq = seq + 1 WHERE dpu = $1 AND seq = 12", dpu)
    await connection.execute(
        "INSERT INTO occupancy.crossing (time, dpu, seq, direction) VALUES ($1, $2, 12, 1)",
        now - timedelta(minutes=16),
        dpu,
    )
    assert await connection.fetchval(young, dpu, start, end) is False
