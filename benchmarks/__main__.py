"""`python -m benchmarks count_at --database-url postgresql://…`: see README.md here."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks import count_at, export, ingest, kafka, refresh, series, storage

RESULTS = Path(__file__).parent / "results"
# A round takes seconds: the peers read every crossing.
_MOST_SERIES_ROUNDS = 15


def main() -> None:
    """Run one benchmark and write its result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "benchmark",
        choices=("count_at", "refresh", "export", "series", "storage", "kafka", "ingest", "all"),
    )
    parser.add_argument(
        "--database-url",
        default=os.environ.get("OCCUPANCY_TEST_DATABASE_URL"),
        help="any database of the server to measure; each benchmark makes its own next to it",
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(
        "--rounds",
        type=int,
        default=3000,
        help="count_at: calls of each kind and history; series: at most 15 are made",
    )
    parser.add_argument("--keep", action="store_true", help="leave the databases there, to look at them")
    parser.add_argument(
        "--reuse",
        action="store_true",
        help="count_at, series: measure today's functions on the databases that an earlier run with --keep left",
    )
    parser.add_argument("--events", type=int, default=kafka.EVENTS, help="kafka: how many are in the topic")
    parser.add_argument("--broker", metavar="HOST:PORT", help="kafka: instead of a tansu of its own")
    _add_ingest(parser)
    arguments = parser.parse_args()
    if arguments.database_url is None:
        sys.exit("set OCCUPANCY_TEST_DATABASE_URL or pass --database-url: a TimescaleDB to measure")
    if arguments.benchmark in {"count_at", "all"}:
        count_at.main(
            arguments.database_url,
            arguments.results,
            rounds=arguments.rounds,
            keep=arguments.keep,
            reuse=arguments.reuse,
        )
    if arguments.benchmark in {"refresh", "all"}:
        refresh.main(arguments.database_url, arguments.results, keep=arguments.keep)
    if arguments.benchmark in {"series", "all"}:
        series.main(
            arguments.database_url,
            arguments.results,
            rounds=min(arguments.rounds, _MOST_SERIES_ROUNDS),
            keep=arguments.keep,
            reuse=arguments.reuse,
        )
    if arguments.benchmark in {"kafka", "all"}:
        kafka.main(
            arguments.database_url, arguments.results, events=arguments.events, broker=arguments.broker
        )
    if arguments.benchmark in {"storage", "all"}:
        storage.main(arguments.database_url, arguments.results, keep=arguments.keep)
    if arguments.benchmark in {"export", "all"}:
        export.main(arguments.database_url, arguments.results)
    if arguments.benchmark in {"ingest", "all"}:
        scale = ingest.Scale(**_given(arguments))
        ingest.main(
            arguments.database_url,
            arguments.results,
            arguments.part or ingest.PARTS,
            scale,
            keep=arguments.keep,
        )


# Of ingest.Scale, what can be set, with the type of the value.
_INGEST = {
    "dpus": int,
    "minutes": float,
    "overload_minutes": float,
    "rounds_of_batches": int,
    "batch_seconds": float,
    "peer_seconds": float,
    "max_delay": float,
    "connections": int,
    "overload_batch_size": int,
    "overload_connections": int,
    "overload_patience": float,
}


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(arguments, name) for name in _INGEST}
    given["workers"] = tuple(arguments.workers) if arguments.workers else None
    return {name: value for name, value in given.items() if value is not None}


def _add_ingest(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("ingest")
    group.add_argument("--part", action="append", choices=ingest.PARTS, help="only these; default: all three")
    defaults = {field.name: field.default for field in fields(ingest.Scale)}
    for name, kind in _INGEST.items():
        default = defaults[name]
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, help=f"default: {default}")
    group.add_argument(
        "--workers", type=int, nargs="+", help="batch: numbers of processes of the service; default: 1 2"
    )


if __name__ == "__main__":
    main()
