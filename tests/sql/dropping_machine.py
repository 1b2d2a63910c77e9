"""The machine of machine.py with a retention: old crossings are dropped, and what may still be asked stays right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from tests.sql.machine import FIRST_DAY, Occupancy, answer, events, offsets, picks
from tests.sql.model import EVER, Answer
from tests.sql.series_model import Width

MICROSECOND = timedelta(microseconds=1)
QUARTER = timedelta(minutes=15)
EPOCH = datetime(2000, 1, 3, tzinfo=UTC)
LATER = datetime(2026, 6, 1, tzinfo=UTC)
# behind the first chunk that has events, behind the second, ...
drops = st.sampled_from([FIRST_DAY + timedelta(days=days) for days in (5, 20, 40, 71)])


def _whole(at: datetime) -> bool:
    return (at - EPOCH) % QUARTER == timedelta(0)


@contextmanager
def _refused(field: str) -> Iterator[list[str]]:
    """Holds the message, if what is done inside is refused for that field."""
    messages: list[str] = []
    try:
        yield messages
    except asyncpg.InvalidParameterValueError as error:
        if error.column_name != field:
            raise
        messages.append(str(error))


class DroppingOccupancy(Occupancy):
    """Events, corrections, refreshes and questions, between drops."""

    @initialize(batch=st.lists(events, min_size=5, max_size=25))
    def start(self, batch: list[tuple[int, datetime, int, int]]) -> None:
        """The same building, with events to drop."""
        super().start()
        self.ingest(batch, [], "ingest_crossings")

    @rule(instant=drops, number=picks)
    def drop(self, instant: datetime, number: int) -> None:
        """Give up what lies before the end of a chunk; mostly when all is refreshed, and drop what was given up."""
        if self.holder is None and number % 8:
            self._refresh(instant)
        self.value(
            "UPDATE occupancy.storage SET keep_crossings = clock_timestamp() - $1::timestamptz", instant
        )
        boundary = self.value("SELECT occupancy.move_dropped_before()")
        self.value("UPDATE occupancy.storage SET keep_crossings = NULL")
        if boundary is not None:
            assert self.model.dropped_before < boundary <= instant
            self.model.drop(boundary)
        if number % 4:
            self.value("SELECT occupancy.drop_crossings()")

    @precondition(lambda self: self.model.dropped_before != EVER)
    @rule(number=picks, offset=offsets)
    def ask_about_what_was_dropped(self, number: int, offset: timedelta) -> None:
        """About an instant at which somebody crossed, the start of its quarter of an hour, and what is beside them."""
        dropped = [key[1] for key in self.model.crossings if key[1] < self.model.dropped_before]
        if dropped:
            at = self.pick(dropped, number)
            self._compare(at + offset)
            self._compare(at - (at - EPOCH) % QUARTER + offset)

    @precondition(lambda self: self.model.dropped_before != EVER)
    @rule(space=picks)
    def ask_where_all_is_known(self, space: int) -> None:
        """Now, and at the boundary, there is an answer whatever was dropped."""
        chosen = self.a_space(space)
        for at in (self.model.dropped_before, LATER):
            assert self._is_known(chosen, at) or self.model.spaces[chosen].reset_at is not None
            self._compare_one(chosen, at)

    def _store(self, dpu: int, when: datetime, seq: int, direction: int) -> str:
        if when < self.model.dropped_before:
            return "past_retention"
        return super()._store(dpu, when, seq, direction)

    def _reset(self, chosen: int, at: datetime, count: int) -> None:
        possible = at >= self.model.dropped_before or _whole(at)
        with _refused("at") as refusal:
            super()._reset(chosen, at, count)
        assert bool(refusal) is not possible

    def _compare(self, at: datetime) -> None:
        for space in self.model.spaces:
            self._compare_one(space, at)

    def _compare_one(self, chosen: int, at: datetime) -> None:
        row = None
        with _refused("at") as refusal:
            row = self.wait(self.connection.fetchrow("SELECT * FROM occupancy.count_at($1, $2)", chosen, at))
        if refusal:
            assert not self._is_known(chosen, at), f"space {chosen} at {at}: {refusal}"
            return
        given, expected = answer(row), self.model.count(chosen, at)
        if self._without_pairs(chosen, at):
            # of those who crossed in both directions at that very instant only the net is known
            pairs = expected.entries - given.entries
            assert pairs >= 0
            last = expected.last_crossing if pairs else given.last_crossing
            given = Answer(given.net, given.entries + pairs, given.exits + pairs, given.since, last)
        assert given == expected

    def _is_known(self, chosen: int, at: datetime) -> bool:
        """Whether there has to be an answer."""
        dropped_before = self.model.dropped_before
        since, _ = self.model.latest_reset(chosen, at)
        return (at >= dropped_before or _whole(at) or _whole(at + MICROSECOND)) and (
            since is None
            or since >= dropped_before
            or _whole(since)
            # of a statement it was kept what followed it; of a daily reset inside a quarter of an hour it was not
            or ((chosen, since) in self.model.resets and at >= since + QUARTER)
        )

    def _without_pairs(self, chosen: int, at: datetime) -> bool:
        since, _ = self.model.latest_reset(chosen, at)
        return (at < self.model.dropped_before and _whole(at)) or (
            since is not None and since < self.model.dropped_before and _whole(since)
        )

    def _compare_series(self, chosen: int, start: datetime, width: Width, days: int) -> None:
        with _refused("interval") as refusal:
            super()._compare_series(chosen, start, width, days)
        if refusal:
            # a month may begin 31 days before the instant asked for
            first = start - timedelta(days=32)
            since, _ = self.model.latest_reset(chosen, first)
            assert first < self.model.dropped_before, f"{first}, reset {since}"
