"""Every answer equals the model, whatever happens; and the comparison notices when a part of the service is broken."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from occupancy import schema
from tests.conftest import empty
from tests.effort import examples
from tests.sql.dropping_machine import DroppingOccupancy
from tests.sql.machine import Occupancy

_PATIENT = settings(
    deadline=None,
    stateful_step_count=25,
    suppress_health_check=list(HealthCheck),
    # A failure found is worth more than one made small: each step is a round trip.
    print_blob=True,
)


_Machine = TypeVar("_Machine", bound=Occupancy)


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Iterator[type[Occupancy]]:
    """The machine on the test's database, with an event loop of its own: Hypothesis calls from ordinary functions."""
    yield from _bound(request, Occupancy)


@pytest.fixture
def dropping_machine(request: pytest.FixtureRequest) -> Iterator[type[DroppingOccupancy]]:
    """The same, with a retention."""
    yield from _bound(request, DroppingOccupancy)


def _bound(request: pytest.FixtureRequest, kind: type[_Machine]) -> Iterator[type[_Machine]]:
    native = request.node.get_closest_marker("native") is not None
    migrated_url: str = request.getfixturevalue("native_url" if native else "migrated_url")
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(asyncpg.connect(migrated_url))
    bound = type("Bound", (kind,), {"loop": loop, "connection": connection, "empty": staticmethod(empty)})
    yield bound
    loop.run_until_complete(schema.apply_logic(connection))
    loop.run_until_complete(empty(connection))
    loop.run_until_complete(connection.close())
    loop.close()


def test_every_answer_equals_the_model(machine: type[Occupancy]) -> None:
    run_state_machine_as_test(machine, settings=settings(_PATIENT, max_examples=examples(60)))


def test_every_answer_that_is_left_equals_the_model(dropping_machine: type[DroppingOccupancy]) -> None:
    run_state_machine_as_test(dropping_machine, settings=settings(_PATIENT, max_examples=examples(100)))


@dataclass(frozen=True)
class Mutation:
    """A way to break the service: in this file of sql/functions, this text becomes that."""

    function: str
    old: str
    new: str
    drops: bool = False


_MUTATIONS = {
    # stale marks
    "late events leave no mark": Mutation(
        "ingest_crossings", "WHERE stored.time < late_before", "WHERE stored.time < '-infinity'"
    ),
    "a changed effect leaves no mark": Mutation(
        "apply_effects", "tstzrange(kept_since, NULL))) AS span;", "tstzrange(kept_since, NULL))) AS span WHERE false;"
    ),
    "readers ignore marks": Mutation("count_at", "WHERE stale.space = count_at.space AND", "WHERE false AND"),
    "a repair stops at its budget and forgets the rest": Mutation(
        "repair_next", "WHERE affordable.done_until < affordable.to_time", "WHERE false"
    ),
    "a repair leaves the days as they were": Mutation(
        "repair_flow", "FROM occupancy.rollups() LOOP", "FROM occupancy.rollups() WHERE false LOOP"
    ),
    # the horizon
    "readers ignore the horizon": Mutation(
        "count_at", "least(count_at.at, horizon.read_before,", "least(count_at.at,"
    ),
    "writers use an older horizon": Mutation(
        "ingest_crossings",
        "SELECT horizon.write_before, ",
        "SELECT horizon.write_before - INTERVAL '1 day', ",
    ),
    # an effect's validity
    "the tail ignores the end of an effect": Mutation(
        "flow_of_crossings", "AND crossing.time < effect.valid_to", ""
    ),
    "the tail takes every effect to hold throughout": Mutation(
        "flow_of_crossings", "IF throughout THEN", "IF true THEN"
    ),
    "the aggregates ignore the validity of effects": Mutation(
        "materialize_flow", "AND crossing.time >= effect.valid_from AND crossing.time < effect.valid_to", ""
    ),
    # the ancestor rule
    "ancestors are not touched": Mutation("derived_effects", "WHERE space.parent IS NOT NULL", "WHERE false"),
    "common ancestors do not cancel out": Mutation("derived_effects", "HAVING sum(touched.sign) <> 0", "HAVING true"),
    "a moved space takes nothing below it along": Mutation(
        "on_space_changed", "FROM occupancy.subtree(moved) AS below", "FROM unnest(moved) AS below (space)"
    ),
    # de-duplication
    "events are not de-duplicated": Mutation(
        "ingest_crossings",
        "SELECT event.time, event.dpu, event.seq, event.direction",
        "SELECT event.time, event.dpu, event.seq + 10 + (random() * 1e9)::bigint, event.direction",
    ),
    # how the net ran: seen by check_flow, and by a series of quarters of an hour
    "a peak forgets that the bucket began at 0": Mutation(
        "folded", "CASE WHEN min(time) > bucket THEN 0 END),\n       least", "NULL),\n       least"
    ),
    # the edges of a range
    "a crossing at the very instant of a reset counts": Mutation(
        "count_at", "(space, after_time + instant, ", "(space, after_time, "
    ),
    "a crossing at the very instant asked for does not count": Mutation("count_at", "at + instant", "at"),
    # the columnstore
    "a repair overlooks what is compressed": Mutation(
        "repair_flow",
        "SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0",
        "SET timescaledb.enable_dml_decompression = off",
    ),
    # retention
    "an event from before a drop is stored": Mutation(
        "ingest_crossings", " AND event.time >= kept_since", "", drops=True
    ),
    "a drop does not wait for repairs": Mutation(
        "move_dropped_before", "EXISTS (SELECT FROM occupancy.stale WHERE stale.since < boundary)", "false", drops=True
    ),
    "a correction reaches back before a drop": Mutation(
        "apply_effects", "change.spans * tstzmultirange(tstzrange(kept_since, NULL))", "change.spans", drops=True
    ),
    "a count reads crossings that were dropped": Mutation(
        "count_at", "ELSIF whole.covered_to < kept_since THEN", "ELSIF false THEN", drops=True
    ),
}  # fmt: skip


# Those that are found soon are hunted on every machine; the embedded database is too slow to hunt for all of them.
_EVERYWHERE = {
    "readers ignore marks",
    "the tail takes every effect to hold throughout",
    "ancestors are not touched",
    "events are not de-duplicated",
    "a count reads crossings that were dropped",
}


def _function(mutation: Mutation) -> str:
    return (schema.sql_directory() / "functions" / f"{mutation.function}.sql").read_text()


@pytest.mark.parametrize("name", _MUTATIONS)
def test_what_a_mutation_breaks_is_there(name: str) -> None:
    """Also where nothing is hunted: a mutation that changes nothing would be noticed months later."""
    assert _MUTATIONS[name].old in _function(_MUTATIONS[name])


@pytest.mark.parametrize(
    "name",
    [name if name in _EVERYWHERE else pytest.param(name, marks=pytest.mark.native) for name in _MUTATIONS],
)
def test_the_model_notices_when(name: str, request: pytest.FixtureRequest) -> None:
    mutation = _MUTATIONS[name]
    machine: type[Occupancy] = request.getfixturevalue("dropping_machine" if mutation.drops else "machine")
    text = _function(mutation)
    machine.loop.run_until_complete(machine.connection.execute(text.replace(mutation.old, mutation.new)))
    hunting = settings(_PATIENT, max_examples=400, phases=[Phase.generate], database=None, print_blob=False)
    with pytest.raises(Exception):  # noqa: B017, PT011 -- a wrong answer, or an error of the broken database
        run_state_machine_as_test(machine, settings=hunting)
