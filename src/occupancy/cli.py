"""The command line: each command parses, calls once, and says what happened."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
)
from rich.table import Table

from occupancy import __version__, address, schema
from occupancy.embedded import EmbeddedError
from occupancy.errors import InvalidInput, OccupancyError
from occupancy.export.encoder import Format
from occupancy.load_command import load_command
from occupancy.parse import parse_timestamp

# All else is imported by the command that needs it: together it takes ten times as long to load as this file.
if TYPE_CHECKING:
    from occupancy.database import Database
    from occupancy.devices.status import DpuState, DpuStatus
    from occupancy.export.file import Report
    from occupancy.refresh import Progress as RefreshProgress
    from occupancy.settings import Settings
    from occupancy.storage import Policy, State
    from occupancy.topology import Topology

app = typer.Typer(no_args_is_help=True, add_completion=False, help="How many people are in a space, exactly.")
db_app = typer.Typer(no_args_is_help=True, help="The embedded TimescaleDB, for a first run and for tests.")
export_app = typer.Typer(no_args_is_help=True, help="Whole ranges of time as CSV, NDJSON or Parquet.")
storage_app = typer.Typer(no_args_is_help=True, help="Old data: what is compressed, dropped and deleted.")
app.add_typer(storage_app, name="storage")
app.add_typer(db_app, name="db")
app.add_typer(export_app, name="export")

_out = Console()
_err = Console(stderr=True)
_T = TypeVar("_T")
_MOST_CHANGES_SHOWN = 200


class Ingest(Enum):
    """Where POST /v1/events puts events."""

    DATABASE = "database"
    KAFKA = "kafka"


def main() -> None:
    """Run a command; an error that we know is one line and exit status 1."""
    try:
        app()
    except (OccupancyError, EmbeddedError) as error:
        field = getattr(error, "field", None)
        named = f" [dim](field {escape(field)})[/]" if field and field not in str(error) else ""
        _err.print(f"[bold red]error:[/] {escape(str(error))}{named}", highlight=False)
        sys.exit(1)
    except ValidationError as error:
        for fault in error.errors():
            name = ".".join(str(part) for part in fault["loc"]).upper()
            setting = f"OCCUPANCY_{name}" if name else "settings"
            _err.print(
                f"[bold red]error:[/] {setting}: {escape(fault['msg'].removeprefix('Value error, '))}",
                highlight=False,
            )
        sys.exit(1)


def _with_database(work: Callable[[Database, Settings], Awaitable[_T]]) -> _T:
    from occupancy.database import Database
    from occupancy.settings import Settings

    async def run() -> _T:
        settings = Settings()
        database = await Database.connect(address.database_url(settings), 2)
        try:
            await database.require_schema()
            return await work(database, settings)
        finally:
            await database.close()

    return asyncio.run(run())


def _with_topology(work: Callable[[Topology], Awaitable[_T]]) -> _T:
    from sqlalchemy.ext.asyncio import async_sessionmaker

    from occupancy.database import DEFAULT_ORGANIZATION, topology_engine
    from occupancy.settings import Settings
    from occupancy.topology import Topology

    async def run() -> _T:
        engine = topology_engine(address.database_url(Settings()))
        try:
            return await work(
                Topology(async_sessionmaker(engine, expire_on_commit=False), DEFAULT_ORGANIZATION)
            )
        finally:
            await engine.dispose()

    return asyncio.run(run())


def _instant(text: str) -> datetime:
    try:
        return parse_timestamp(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}") from error


InstantOption = Annotated[datetime | None, typer.Option(parser=_instant, metavar="RFC3339")]


@app.command()
def version() -> None:
    """Print the version."""
    _out.print(__version__, highlight=False)


@app.command()
def migrate() -> None:
    """Bring the database to the schema of this version: an empty one or an older one."""
    from occupancy.settings import Settings

    asyncio.run(schema.migrate(address.database_url(Settings())))
    _out.print(f"the database is at revision {schema.head_revision()}")


@app.command()
def serve(
    migrate_first: Annotated[bool, typer.Option("--migrate", help="Migrate the database first.")] = False,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that share the port; one uses about one core.")
    ] = 1,
    ingest: Annotated[
        Ingest | None, typer.Option(help="Where events go; default: OCCUPANCY_INGEST, or the database.")
    ] = None,
) -> None:
    """Run the HTTP service until it is told to stop."""
    from occupancy.kafka.properties import producer_properties
    from occupancy.serve import serve_http
    from occupancy.settings import Settings

    if ingest is not None:
        # each process of the service reads its settings from there
        os.environ["OCCUPANCY_INGEST"] = ingest.value
    settings = Settings()
    if settings.ingest == "kafka":
        # what is missing is said now, in one line
        producer_properties(settings)
    url = address.database_url(settings)
    if migrate_first:
        asyncio.run(schema.migrate(url))
    _refuse_taken_port(settings)
    serve_http(settings, workers)


@app.command()
def consume(
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss", help="Go on where Kafka no longer has messages that were never stored."
        ),
    ] = False,
) -> None:
    """Store the events of a Kafka topic, each once, until told to stop. Any number may run; they share the work."""
    from occupancy.kafka.run import run_worker
    from occupancy.settings import Settings

    settings = Settings()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(run_worker(settings, address.database_url(settings), accept_loss=accept_loss))


@app.command("mqtt-bridge")
def mqtt_bridge() -> None:
    """Take events from the MQTT broker of OCCUPANCY_MQTT_URL until told to stop."""
    from occupancy.mqtt.service import run_bridge
    from occupancy.settings import Settings

    settings = Settings()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    url = address.database_url(settings) if settings.ingest == "database" else ""
    asyncio.run(run_bridge(settings, url))


def _refuse_taken_port(settings: Settings) -> None:
    try:
        socket.create_server((settings.host, settings.port), family=_family(settings.host)).close()
    except OSError as error:
        raise InvalidInput(
            f"OCCUPANCY_PORT: cannot listen on {settings.host}, port {settings.port}: {error.strerror}",
            field="OCCUPANCY_PORT",
            value=settings.port,
        ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@db_app.command("start")
def db_start(
    migrate_too: Annotated[
        bool, typer.Option("--migrate/--no-migrate", help="Bring it to the schema.")
    ] = True,
) -> None:
    """Start the embedded database in the background and print its URL."""
    from occupancy.settings import Settings

    url = address.embedded(Settings()).start(
        report=lambda line: _err.print(line, style="dim", highlight=False)
    )
    if migrate_too:
        asyncio.run(schema.migrate(url))
    _out.print(url, highlight=False, soft_wrap=True)


@db_app.command("stop")
def db_stop() -> None:
    """Stop the embedded database; its data stays."""
    from occupancy.settings import Settings

    stopped = address.embedded(Settings()).stop()
    _out.print("stopped" if stopped else "it was not running")


@db_app.command("status")
def db_status() -> None:
    """Say whether the embedded database runs, and where its data and log are. Exit status 3 if it does not run."""
    from occupancy.settings import Settings

    status = address.embedded(Settings()).status()
    table = Table.grid(padding=(0, 2))
    table.add_row("running", "yes" if status.running else "no")
    table.add_row("url", status.url or "-")
    table.add_row("process", str(status.pid or "-"))
    table.add_row("data", str(status.data_directory))
    table.add_row("log", str(status.log_file))
    _out.print(table)
    raise typer.Exit(0 if status.running else 3)


@db_app.command("url")
def db_url() -> None:
    """Print the URL of the database that commands work on."""
    from occupancy.settings import Settings

    _out.print(address.database_url(Settings()), highlight=False, soft_wrap=True)


@app.command("import")
def import_(file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]) -> None:
    """Store the events of a CSV file (columns timestamp, direction, dpu_id). Running it twice adds nothing."""
    from occupancy.csv_import import import_csv

    size = file.stat().st_size
    with Progress(TextColumn("importing"), BarColumn(), DownloadColumn(), console=_err) as progress:
        task = progress.add_task("importing", total=size)

        async def work(database: Database, settings: Settings) -> Any:
            return await import_csv(
                database, settings, file, lambda done: progress.update(task, completed=done)
            )

        imported = _with_database(work)
        progress.update(task, completed=size)
    rejected = imported.rejected.total()
    _out.print(
        f"accepted {imported.accepted}, duplicates {imported.duplicates}, rejected {rejected}",
        highlight=False,
    )
    for code, number in sorted(imported.rejected.items()):
        _out.print(f"  {code}: {number}", highlight=False)
    for example in imported.examples:
        _out.print(f"  {example}", highlight=False, markup=False)
    if rejected:
        _out.print("Rejected events are kept; once the reason is gone: occupancy replay-rejected")


@app.command("replay-rejected")
def replay(code: Annotated[str | None, typer.Option(help="Only those with this reason.")] = None) -> None:
    """Try the events that were kept aside again, for example after a DPU was registered."""
    from occupancy.database import DEFAULT_ORGANIZATION
    from occupancy.replay import replay_rejected

    replayed = _with_database(
        lambda database, settings: replay_rejected(database, settings, DEFAULT_ORGANIZATION, code)
    )
    _out.print(
        f"accepted {replayed.accepted}, duplicates {replayed.duplicates}, still rejected {replayed.still_rejected}",
        highlight=False,
    )


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
) -> None:
    """Declare spaces, doorways, DPUs and placements from a layout file, all or nothing."""
    from occupancy.layout import Layout, read_yaml

    try:
        document = read_yaml(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not text in UTF-8: {error}", field="file", value=str(file)) from error

    async def work(topology: Topology) -> Any:
        layout = Layout(topology)
        return await (layout.plan(document) if dry_run else layout.apply(document))

    changes = _with_topology(work)
    for change in changes[:_MOST_CHANGES_SHOWN]:
        _out.print(f"  {change}", highlight=False, markup=False, soft_wrap=True)
    if len(changes) > _MOST_CHANGES_SHOWN:
        _out.print(f"  … and {len(changes) - _MOST_CHANGES_SHOWN} more", highlight=False)
    verb = "would be made" if dry_run else "made"
    _out.print(f"{len(changes)} changes {verb}" if changes else "nothing to change", highlight=False)


@app.command("export-layout")
def export_layout(
    file: Annotated[Path | None, typer.Argument(dir_okay=False, writable=True)] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over the file if it is there.")] = False,
) -> None:
    """Write all spaces, doorways, DPUs and placements as a layout file, or print them."""
    from occupancy.layout import Layout, write_yaml

    if file is not None and file.exists() and not force:
        raise InvalidInput(f"{file} is there already: --force writes over it", field="file", value=str(file))
    document = _with_topology(lambda topology: Layout(topology).export())
    text = write_yaml(document)
    if file is None:
        sys.stdout.write(text)
    else:
        file.write_text(text, encoding="utf-8")


SpacesOption = Annotated[list[str], typer.Option("--space", help="Its space_id; may be given several times.")]
StartOption = Annotated[str, typer.Option("--start", metavar="RFC3339", help="From this instant on.")]
EndOption = Annotated[
    str | None,
    typer.Option("--end", metavar="RFC3339", help="Up to but not including this instant; default: now."),
]
FormatOption = Annotated[
    Format | None, typer.Option("--format", help="Default: what --output ends in, or else csv.")
]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", dir_okay=False, help="The file, there once it is complete; default: stdout."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Write over the file if it is there.")]


@export_app.command("series")
def export_series_command(
    space: SpacesOption,
    start: StartOption,
    end: EndOption = None,
    interval: Annotated[str, typer.Option(help="15m, 1h, 1d, 1w, 1mo, 1y, ...")] = "1h",
    tz: Annotated[
        str | None, typer.Option(help="Calendar and times; default: the space's own, and UTC.")
    ] = None,
    hours: Annotated[str | None, typer.Option(help="Only while it is open: 'Mon-Fri 08:00-18:00'.")] = None,
    file_format: FormatOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Write how the counts of spaces ran, bucket by bucket."""
    from occupancy.api.times import time_range, zone
    from occupancy.export.file import export_series, format_of, output_file
    from occupancy.history.series import SeriesQuestion
    from occupancy.settings import Settings

    question = SeriesQuestion(*time_range(start, end, Settings().max_clock_skew), interval, tz, hours)
    answered_in = zone(tz)
    wanted = file_format or format_of(output)
    with output_file(output, wanted, force=force) as file:
        _export(
            lambda database, report: export_series(
                database, space, question, answered_in, file, wanted, report
            )
        )


@export_app.command("events")
def export_events_command(
    space: SpacesOption,
    start: StartOption,
    end: EndOption = None,
    tz: Annotated[str | None, typer.Option(help="Zone of the times; default: UTC.")] = None,
    file_format: FormatOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
) -> None:
    """Write the single crossings that touched the counts of spaces."""
    from occupancy.api.times import time_range, zone
    from occupancy.export.file import export_events, format_of, output_file
    from occupancy.history.events import EventsQuestion
    from occupancy.settings import Settings

    question = EventsQuestion(*time_range(start, end, Settings().max_clock_skew))
    answered_in = zone(tz)
    wanted = file_format or format_of(output)
    with output_file(output, wanted, force=force) as file:
        _export(
            lambda database, report: export_events(
                database, space, question, answered_in, file, wanted, report
            )
        )


def _export(work: Callable[[Database, Report], Awaitable[int]]) -> None:
    with Progress(TextColumn("exporting"), BarColumn(), TaskProgressColumn(), console=_err) as progress:
        task = progress.add_task("exporting", total=1.0)
        rows = _with_database(
            lambda database, settings: work(database, lambda share: progress.update(task, completed=share))  # noqa: ARG005
        )
    _err.print(f"{rows} rows", highlight=False)


@app.command()
def refresh(
    rebuild: Annotated[
        tuple[datetime, datetime] | None,
        typer.Option(parser=_instant, metavar="FROM TO", help="Compute this range anew, by force."),
    ] = None,
) -> None:
    """Bring the aggregates up to date once; counts are exact before, during and after."""
    from occupancy.refresh import Refresher

    async def work(database: Database, settings: Settings) -> bool:
        refresher = Refresher(database, settings)
        if rebuild is not None:
            start, end = rebuild
            if start >= end:
                raise InvalidInput("--rebuild: FROM must be before TO", field="rebuild", value=str(rebuild))
            _out.print(f"marked {await refresher.rebuild(start, end)} spaces", highlight=False)
        with _err.status("refreshing") as status:
            return await refresher.run_once(report=lambda progress: status.update(_progress_line(progress)))

    if _with_database(work):
        _out.print("refreshed")
    else:
        _out.print("another refresher is at work; it does the same")


def _progress_line(progress: RefreshProgress) -> str:
    if progress.phase == "repair":
        return f"repairing: step {progress.steps}, {progress.marks} marks left"
    return f"materializing: step {progress.steps}, up to {progress.read_before} of {progress.write_before}"


@app.command("check")
def check_command(
    start: InstantOption = None,
    end: InstantOption = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Check only so many windows of 30 days.")] = None,
) -> None:
    """Compare aggregates with raw crossings. Exit status 1 and a table if they differ."""
    from occupancy.check import check

    with Progress(TextColumn("checking"), BarColumn(), MofNCompleteColumn(), console=_err) as progress:
        task = progress.add_task("checking", total=None)

        async def work(database: Database, settings: Settings) -> Any:  # noqa: ARG001
            def report(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            return await check(database, start, end, sample, report)

        differences = _with_database(work)
    if not differences:
        _out.print("aggregates and crossings agree")
        return
    table = Table("level", "space", "bucket", "column", "stored", "correct")
    for difference in differences:
        for column in difference.columns:
            table.add_row(
                difference.level,
                difference.space_id,
                difference.bucket.astimezone(UTC).isoformat(),
                column,
                str((difference.stored or {}).get(column, "-")),
                str((difference.correct or {}).get(column, "-")),
            )
    _out.print(table)
    _out.print("Mend them with: occupancy refresh --rebuild FROM TO")
    raise typer.Exit(1)


@app.command("dpu-status")
def dpu_status_command(
    dpu_id: Annotated[str | None, typer.Argument(help="One DPU in detail; default: all of them.")] = None,
    silent_for: Annotated[
        str | None, typer.Option(metavar="15m", help="Only those not heard of for so long: m, h or d.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=_instant, metavar="RFC3339", help="Look at numbers from here on; default: 24 hours ago."
        ),
    ] = None,
) -> None:
    """Say when DPUs were last heard of, how far their clocks are off, and which events are missing."""
    from occupancy.database import DEFAULT_ORGANIZATION
    from occupancy.devices.duration import duration
    from occupancy.devices.status import dpu_status
    from occupancy.devices.tables import dpu_table

    silence = None if silent_for is None else duration(silent_for)
    if dpu_id is None:
        _print_states(silence)
        return
    if silence is not None:
        raise InvalidInput(
            "--silent-for is about all DPUs, not about one", field="silent-for", value=silent_for
        )

    async def work(database: Database, settings: Settings) -> DpuStatus:
        now = datetime.now(UTC)
        start = now - timedelta(hours=24) if since is None else since
        return await dpu_status(database, DEFAULT_ORGANIZATION, dpu_id, start, now + settings.max_clock_skew)

    _out.print(dpu_table(_with_database(work)))


def _print_states(silence: timedelta | None) -> None:
    from occupancy.database import DEFAULT_ORGANIZATION
    from occupancy.devices.status import dpu_states
    from occupancy.devices.tables import fleet_table

    async def work(database: Database, settings: Settings) -> list[DpuState]:
        states: list[DpuState] = []
        after = None
        while True:
            page = await dpu_states(
                database, DEFAULT_ORGANIZATION, after, 1000, silence, settings.max_clock_skew
            )
            states += page.items
            after = page.next
            if after is None:
                return states

    _out.print(fleet_table(_with_database(work)))


@storage_app.command("show")
def storage_show() -> None:
    """Show the chunks, what lies on the disk for them, and what the policy would do with each now."""
    from occupancy.storage import Storage

    state = _with_database(lambda database, settings: Storage(database).state())  # noqa: ARG005
    table = Table("holds", "from", "to", "stored as", "size", "due")
    for chunk in state.chunks:
        kind = "columns and rows" if chunk.partial else "columns" if chunk.compressed else "rows"
        table.add_row(
            chunk.holds, _day(chunk.start), _day(chunk.end), kind, f"{chunk.size / 1e6:,.1f} MB", chunk.due
        )
    _out.print(table)
    _print_policy(state.policy)
    _print_totals(state)


def _print_policy(policy: Policy) -> None:
    for name in policy.__dataclass_fields__:
        age = getattr(policy, name)
        _out.print(f"{name}: {'-' if age is None else age}", highlight=False)


def _print_totals(state: State) -> None:
    dropped = "nothing" if state.dropped_before is None else f"all before {state.dropped_before.isoformat()}"
    _out.print(f"single crossings dropped: {dropped}", highlight=False)
    if state.held:
        _out.print(f"{state.held:,} events wait for a chunk that is being compressed", highlight=False)
    if state.bytes_per_crossing is not None:
        _out.print(
            f"about {state.crossings:,} crossings, {state.bytes_per_crossing:.1f} bytes each, aggregates included",
            highlight=False,
        )


def _day(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


@storage_app.command("run")
def storage_run() -> None:
    """Do now what the policy asks for: compress, drop, delete. Dropping takes two runs."""
    from occupancy.storage import Storage

    async def work(database: Database, settings: Settings) -> None:  # noqa: ARG001
        await Storage(database).run_once(report=lambda line: _out.print(line, highlight=False, markup=False))

    _with_database(work)
    _out.print("done")


AgeOption = Annotated[str | None, typer.Option(metavar="P30D|never")]


@storage_app.command("set")
def storage_set(
    compress_crossings_after: AgeOption = None,
    compress_aggregates_after: AgeOption = None,
    keep_crossings: AgeOption = None,
    keep_rejected: AgeOption = None,
) -> None:
    """Set at which age chunks are compressed or dropped and rejected events deleted; `never` ends it.

    With --keep-crossings, single crossings are DELETED once they are older; counts, series and totals stay.
    """
    from occupancy.storage import Storage

    given = {
        "compress_crossings_after": compress_crossings_after,
        "compress_aggregates_after": compress_aggregates_after,
        "keep_crossings": keep_crossings,
        "keep_rejected": keep_rejected,
    }
    changes = {name: _age(name, text) for name, text in given.items() if text is not None}
    if not changes:
        raise InvalidInput("give at least one of the options", field="options")
    _print_policy(_with_database(lambda database, settings: Storage(database).change(changes)))  # noqa: ARG005


def _age(name: str, text: str) -> timedelta | None:
    from pydantic import TypeAdapter

    if text == "never":
        return None
    try:
        return TypeAdapter(timedelta).validate_python(text)
    except ValidationError as error:
        option = f"--{name.replace('_', '-')}"
        raise InvalidInput(
            f"{option}: {text!r} is neither an ISO 8601 duration such as P30D nor 'never'",
            field=name,
            value=text,
        ) from error


@app.command("simulate")
def simulate_command(
    directory: Annotated[Path, typer.Argument(file_okay=False, help="Where to write the files.")],
    day: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"])] = datetime(2026, 3, 2),  # noqa: DTZ001
    people: Annotated[int, typer.Option(min=1)] = 120,
    floors: Annotated[int, typer.Option(min=1)] = 3,
    rooms: Annotated[int, typer.Option(min=1, help="Rooms per floor.")] = 6,
    time_zone: Annotated[str, typer.Option()] = "Europe/Berlin",
    seed: Annotated[int, typer.Option()] = 1,
    late: Annotated[float, typer.Option(min=0, max=1, help="Share of events delivered late.")] = 0,
    max_delay: Annotated[float, typer.Option(min=0, help="Longest delay in hours.")] = 4,
    duplicates: Annotated[float, typer.Option(min=0, max=1, help="Share of events delivered twice.")] = 0,
    shuffled: Annotated[bool, typer.Option("--shuffled", help="Batches out of order inside.")] = False,
    moved_dpu: Annotated[bool, typer.Option("--moved-dpu", help="A DPU is moved at noon.")] = False,
    reversed_dpu: Annotated[
        bool, typer.Option("--reversed-dpu", help="A DPU hangs the wrong way round.")
    ] = False,
) -> None:
    """Make a building and a day of people: layout, events as delivered, corrections, and the true counts."""
    from occupancy.simulation import BuildingPlan, Defects, simulate
    from occupancy.simulation.files import write_simulation

    plan = BuildingPlan(floors=floors, rooms_per_floor=rooms, time_zone=time_zone)
    defects = Defects(
        late=late,
        max_delay=timedelta(hours=max_delay),
        duplicates=duplicates,
        shuffled=shuffled,
        moved_dpu=moved_dpu,
        reversed_dpu=reversed_dpu,
    )
    simulation = simulate(plan, date(day.year, day.month, day.day), people=people, seed=seed, defects=defects)
    for file in write_simulation(simulation, directory):
        _out.print(str(file), highlight=False, soft_wrap=True)


@app.command("bi-login")
def bi_login(
    name: Annotated[str, typer.Argument(help="The login, a role of the database.")],
    organization: Annotated[
        str | None, typer.Option(metavar="ORG", help="Whose rows it sees; needed unless --drop.")
    ] = None,
    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help="Read its password from the first line of standard input."),
    ] = False,
    drop: Annotated[bool, typer.Option("--drop", help="Remove it.")] = False,
) -> None:
    """Make a login of the database for BI tools, which reads schema bi of one organization, or remove one."""
    from occupancy.bi import drop_login, make_login

    if drop == (organization is not None):
        raise InvalidInput(
            "give --organization or --drop, not both", field="organization", value=organization
        )
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else None

    async def work(database: Database, settings: Settings) -> None:  # noqa: ARG001
        async with database.connection() as connection:
            if organization is None:
                await drop_login(connection, name)
            else:
                await make_login(connection, name, organization, password)

    _with_database(work)
    _out.print(
        f"{name} is removed"
        if organization is None
        else f"{name} reads schema bi of {organization}"
        + ("" if password_stdin else "; no password was set (--password-stdin)"),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


app.command("load")(load_command)


@app.command()
def demo() -> None:
    """Load a simulated building into a running service, ask, and compare with the truth. Exit status 1 if wrong."""
    from occupancy.demo import run_demo
    from occupancy.settings import Settings

    if not run_demo(Settings(), _out):
        raise typer.Exit(1)
