"""Every answer equals the model, whatever happens; and the comparison notices when a part of the service is broken."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from occupancy import schema
from tests.conftest import empty
from tests.sql.machine import Occupancy

_PATIENT = settings(
    deadline=None,
    stateful_step_count=25,
    suppress_health_check=list(HealthCheck),
    # A failure found is worth more than one made small: each step is a round trip.
    print_blob=True,
)


@pytest.fixture
def machine(migrated_url: str) -> Iterator[type[Occupancy]]:
    """The machine on the test's database, with an event loop of its own: Hypothesis calls from ordinary functions."""
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(asyncpg.connect(migrated_url))
    bound = type(
        "Bound", (Occupancy,), {"loop": loop, "connection": connection, "empty": staticmethod(empty)}
    )
    yield bound
    loop.run_until_complete(schema.apply_logic(connection))
    loop.run_until_complete(empty(connection))
    loop.run_until_complete(connection.close())
    loop.close()


def test_every_answer_equals_the_model(machine: type[Occupancy]) -> None:
    run_state_machine_as_test(machine, settings=settings(_PATIENT, max_examples=60))


@dataclass(frozen=True)
class Mutation:
    """A way to break the service: in this file of sql/functions, this text becomes that."""

    function: str
    old: str
    new: str


_MUTATIONS = {
    "late events leave no stale mark": Mutation(
        "ingest_crossings", "WHERE stored.time < late_before", "WHERE stored.time < '-infinity'"
    ),
    "a changed effect leaves no stale mark": Mutation(
        "apply_effects", "CROSS JOIN LATERAL unnest(change.spans) AS span;",
        "CROSS JOIN LATERAL unnest(change.spans) AS span WHERE false;",
    ),
    "readers ignore stale marks": Mutation(
        "count_at", "WHERE stale.space = count_at.space AND", "WHERE false AND"
    ),
    "readers ignore the horizon": Mutation("count_at", "least(count_at.at, horizon.read_before,", "least(count_at.at,"),
    "the horizon for writers stays behind that for readers": Mutation(
        "ingest_crossings", "SELECT horizon.write_before INTO late_before",
        "SELECT horizon.write_before - INTERVAL '1 day' INTO late_before",
    ),
    "an effect has no end": Mutation(
        "flow_of_crossings", "AND crossing.time < effect.valid_to", ""
    ),
    "an aggregate is built from effects without an end": Mutation(
        "materialize_flow", "AND crossing.time >= effect.valid_from AND crossing.time < effect.valid_to", ""
    ),
    "ancestors are not touched": Mutation("derived_effects", "WHERE space.parent IS NOT NULL", "WHERE false"),
    "common ancestors do not cancel out": Mutation(
        "derived_effects", "HAVING sum(touched.sign) <> 0", "HAVING true"
    ),
    "events are not de-duplicated": Mutation("ingest_crossings", "event.seq, event.direction\n    FROM event",
        "event.seq + 10 + (random() * 1e9)::bigint, event.direction\n    FROM event"),
    "moving a space derives no effects below it": Mutation(
        "on_space_changed", "FROM occupancy.subtree(moved) AS below", "FROM unnest(moved) AS below (space)"
    ),
    "a repair stops at its budget and forgets the rest": Mutation(
        "repair_next", "WHERE affordable.done_until < affordable.to_time", "WHERE false"
    ),
    "a repair leaves the days as they were": Mutation(
        "repair_flow", "FOR rollup IN SELECT * FROM occupancy.rollups() LOOP",
        "FOR rollup IN SELECT * FROM occupancy.rollups() WHERE false LOOP",
    ),
    "a crossing at the very instant of a reset counts": Mutation(
        "count_at", "after_time + INTERVAL '1 microsecond'", "after_time"
    ),
    "a crossing at the very instant asked for does not count": Mutation(
        "count_at", "whole.quarters_to, count_at.at + INTERVAL '1 microsecond'", "whole.quarters_to, count_at.at"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", _MUTATIONS)
def test_the_model_notices_when(name: str, machine: type[Occupancy]) -> None:
    mutation = _MUTATIONS[name]
    text = (schema.sql_directory() / "functions" / f"{mutation.function}.sql").read_text()
    assert mutation.old in text, "the text to break has changed: adapt the mutation"
    machine.loop.run_until_complete(machine.connection.execute(text.replace(mutation.old, mutation.new)))
    hunting = settings(_PATIENT, max_examples=400, phases=[Phase.generate], database=None, print_blob=False)
    with pytest.raises(Exception):  # noqa: B017, PT011 -- a wrong answer, or an error of the broken database
        run_state_machine_as_test(machine, settings=hunting)
