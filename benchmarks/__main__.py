"""`python -m benchmarks count_at --database-url postgresql://…`: see README.md here."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks import count_at, export, kafka, refresh, series

RESULTS = Path(__file__).parent / "results"
# A round takes seconds: the peers read every crossing.
_MOST_SERIES_ROUNDS = 15


def main() -> None:
    """Run one benchmark and write its result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("benchmark", choices=("count_at", "refresh", "export", "series", "kafka", "all"))
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
    if arguments.benchmark in {"export", "all"}:
        export.main(arguments.database_url, arguments.results)


if __name__ == "__main__":
    main()
