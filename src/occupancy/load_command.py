"""`occupancy load`: its options, and what they come to."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from occupancy import address
from occupancy.errors import InvalidInput

# All else is imported when the command runs: every other one loads this file, too.
if TYPE_CHECKING:
    from rich.status import Status

    from occupancy.load.plan import Phase
    from occupancy.load.site import Site
    from occupancy.settings import Settings

_out = Console()
_err = Console(stderr=True)
# An acknowledgement of Kafka precedes the commit.
_KAFKA_SETTLE_SECONDS = 60.0


class Mode(StrEnum):
    """How messages go."""

    SINGLE = "single"
    BATCH = "batch"
    KAFKA = "kafka"


def load_command(
    url: Annotated[str | None, typer.Argument(help="The service; default: OCCUPANCY_HOST and _PORT.")] = None,
    dpus: Annotated[int, typer.Option(help="How many DPUs send.")] = 1000,
    events_per_minute: Annotated[float, typer.Option(help="Of each DPU.")] = 1.0,
    rate: Annotated[
        str | None,
        typer.Option(metavar="N|max", help="Messages a second of all DPUs; max: as fast as it goes."),
    ] = None,
    duration: Annotated[float, typer.Option(help="Seconds.")] = 60.0,
    step: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RATE:SECONDS", help="Several rates, one after the other; in place of the above."
        ),
    ] = None,
    warm_up: Annotated[float, typer.Option(help="Seconds at the start that are not measured.")] = 0.0,
    late: Annotated[float, typer.Option(help="Share of messages that come late.")] = 0.0,
    max_delay: Annotated[float, typer.Option(help="How late they are at most, in seconds.")] = 3600.0,
    duplicates: Annotated[float, typer.Option(help="Share of messages that repeat an earlier one.")] = 0.0,
    out_of_order: Annotated[
        float, typer.Option(help="Share that tells of something before what the DPU told of last.")
    ] = 0.0,
    mode: Annotated[
        Mode, typer.Option(help="One event a request, a gateway's batches, or Kafka.")
    ] = Mode.SINGLE,
    batch_size: Annotated[int, typer.Option(help="Events in a request of mode batch.")] = 1000,
    connections: Annotated[int, typer.Option(min=1, help="HTTP connections, kept alive.")] = 64,
    retry: Annotated[
        bool, typer.Option("--retry", help="Send again what was refused or lost, as devices do.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which an answer is given up.")
    ] = 30.0,
    drain: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for answers after the last message.")
    ] = 30.0,
    patience: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds after which a message that finds no connection is given up."),
    ] = math.inf,
    setup: Annotated[
        bool, typer.Option("--setup", help="First declare the site, by SQL, in the database of the settings.")
    ] = False,
    prefix: Annotated[str, typer.Option(help="What the site's ids begin with.")] = "load",
    verify: Annotated[bool, typer.Option(help="Compare counts with what was acknowledged.")] = True,
    verify_every: Annotated[float, typer.Option(min=0.001, help="Seconds between two questions.")] = 1.0,
    verify_spaces: Annotated[int, typer.Option(min=1, max=200, help="Spaces in a question.")] = 10,
    settle: Annotated[
        float | None,
        typer.Option(
            min=0, help="Seconds until counts show what was acknowledged; default: 0, mode kafka: 60."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same messages for the same number.")] = 1,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", dir_okay=False, help="Write the report there, - for stdout.", allow_dash=True),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Write all events and what became of them there, as CSV."),
    ] = None,
) -> None:
    """Be many DPUs: send at a fixed rate, time the answers, check the counts. Exit status 1 if any is wrong.

    The service's key is OCCUPANCY_API_KEY; --mode kafka uses OCCUPANCY_KAFKA_BOOTSTRAP_SERVERS and the like.
    """
    import uvloop

    from occupancy.kafka.properties import producer_properties
    from occupancy.load import Audit, Conduct, Plan, Site, Target, run_load
    from occupancy.settings import Settings

    settings = Settings()
    plan = Plan(
        dpus=dpus,
        phases=_phases(step, rate, dpus * events_per_minute / 60, duration),
        late=late,
        max_delay=max_delay,
        duplicates=duplicates,
        out_of_order=out_of_order,
        batch_size=batch_size if mode is Mode.BATCH else 1,
        warm_up=warm_up,
        seed=seed,
    )
    site = Site(dpus, prefix)
    kafka = mode is Mode.KAFKA
    target = Target(
        url or f"http://{settings.host}:{settings.port}",
        None if settings.api_key is None else settings.api_key.get_secret_value(),
        connections,
        producer_properties(settings) if kafka else None,
        settings.kafka_topic,
    )
    if settle is None:
        settle = _KAFKA_SETTLE_SECONDS if kafka else 0.0
    audit = Audit(verify_every, verify_spaces, settle) if verify else None
    if setup:
        asyncio.run(_declare(settings, site))
    with _progress() as progress:
        report = uvloop.run(
            run_load(plan, site, target, Conduct(retry, timeout, drain, patience), audit, ledger, progress)
        )
    if json_file is not None:
        _write(json_file, report.document)
    report.print(_err if json_file is not None and str(json_file) == "-" else _out)
    if not report.right:
        raise typer.Exit(1)


def _phases(
    steps: list[str] | None, rate: str | None, default_rate: float, seconds: float
) -> tuple[Phase, ...]:
    from occupancy.load.plan import Phase

    if not steps:
        return (Phase(seconds, default_rate if rate is None else _rate(rate)),)
    phases = []
    for step in steps:
        given, _, duration = step.partition(":")
        phases.append(Phase(_number(duration, "step", step), _rate(given)))
    return tuple(phases)


def _rate(text: str) -> float:
    from occupancy.load.plan import UNPACED

    return UNPACED if text == "max" else _number(text, "rate", text)


def _number(text: str, field: str, value: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInput(f"{field}: {value!r} is not a number", field=field, value=value) from error


async def _declare(settings: Settings, site: Site) -> None:
    from occupancy.database import DEFAULT_ORGANIZATION, Database
    from occupancy.load.site import declare
    from occupancy.refresh import Refresher

    database = await Database.connect(address.database_url(settings), 1)
    try:
        await database.require_schema()
        with _err.status(f"declaring {site.dpus} DPUs") as status:
            await declare(
                database,
                DEFAULT_ORGANIZATION,
                site,
                lambda done: status.update(f"declared {done} of {site.dpus} DPUs"),
            )
            # What is declared marks its spaces; the load begins with a database that has nothing left to do.
            status.update("refreshing")
            await Refresher(database, settings).run_once()
    finally:
        await database.close()


class _Line:
    """The latest second, on one line of a terminal."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def __call__(self, row: dict[str, Any]) -> None:
        latency = "" if row["p99"] is None else f", p99 {row['p99']:.0f} ms"
        waiting = f", {row['waiting']} requests wait" if row["waiting"] else ""
        refused = f", {row['refused']} refused" if row["refused"] else ""
        self._status.update(
            f"{row['second']} s: {row['due']} due, {row['acknowledged']} acknowledged{refused}{latency}{waiting}"
        )


@contextmanager
def _progress() -> Iterator[_Line]:
    # Drawing costs as much as a hundred requests: once a second is enough.
    with _err.status("asking for the counts before the load", refresh_per_second=1) as status:
        yield _Line(status)


def _write(file: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=2) + "\n"
    if str(file) == "-":
        sys.stdout.write(text)
    else:
        file.write_text(text, encoding="utf-8")
