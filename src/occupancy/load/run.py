"""One run: the load, the questions meanwhile, and the report."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from occupancy.errors import InvalidInput
from occupancy.load.audit import Audit, Auditor, Baseline, Counts
from occupancy.load.generator import Conduct, Generator, Transport
from occupancy.load.http import Endpoint, Questions
from occupancy.load.ledger import Ledger
from occupancy.load.messages import Messages
from occupancy.load.plan import Plan
from occupancy.load.report import Report, counts_document, report
from occupancy.load.schedule import Schedule
from occupancy.load.site import Site
from occupancy.load.tally import Tally
from occupancy.load.transports import HttpTransport, KafkaTransport
from occupancy.load.truth import Truth

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the load goes: the service, and, where messages go through Kafka, the topic in front of it.

    `kafka` are the properties of a producer, as librdkafka has them.
    """

    url: str
    key: str | None = None
    connections: int = 64
    kafka: Mapping[str, Any] | None = None
    kafka_topic: str = "occupancy.events"


async def run_load(
    plan: Plan,
    site: Site,
    target: Target,
    conduct: Conduct,
    audit: Audit | None,
    ledger_file: Path | None = None,
    progress: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Report:
    """Run the load and report. Without an `audit`, counts are not checked. `progress` gets each second's figures.

    `ledger_file`: write what is known of every event there, as CSV. Raises InvalidInput where the service cannot be
    reached or does not know the site.
    """
    if target.kafka is not None and plan.batch_size != 1:
        raise InvalidInput("batch-size: a message in Kafka holds one event", field="batch-size")
    endpoint = Endpoint.of(target.url, target.key)
    questions = Questions(endpoint)
    counts = Counts(site, questions)
    run = _Run(plan, site, conduct)
    auditor = None
    try:
        if audit is not None:
            await questions.open()
            baseline = await Baseline.ask(site, counts)
            auditor = Auditor(audit, site, plan, run.truth, run.generator, counts, baseline)
        await run.go(run.transport(target, endpoint), auditor, progress)
        settles = audit is not None and audit.settle > 0
        document = report(plan, conduct, run.tally, run.ledger, run.generator, settles=settles)
        document["counts"] = None
        if auditor is not None:
            took = await auditor.finish()
            document["counts"] = counts_document(counts, auditor, took)
    finally:
        await questions.close()
    if ledger_file is not None:
        _write(ledger_file, run)
    return Report(document)


class _Run:
    """The parts of one run, put together."""

    def __init__(self, plan: Plan, site: Site, conduct: Conduct) -> None:
        self.site = site
        self.ledger = Ledger()
        self.schedule = Schedule(plan, self.ledger)
        self.truth = Truth(site, self.schedule, self.ledger)
        self.tally = Tally(plan.warm_up)
        self.generator = Generator(plan, conduct, self.schedule, self.ledger, self.tally)

    def transport(self, target: Target, endpoint: Endpoint) -> Transport:
        """The way of the messages."""
        messages = Messages(self.site, self.schedule, self.ledger)
        if target.kafka is None:
            return HttpTransport(endpoint, target.connections, messages, self.generator)
        return KafkaTransport(target.kafka_topic, target.kafka, messages, self.generator)

    async def go(
        self, transport: Transport, auditor: Auditor | None, progress: Callable[[dict[str, Any]], None]
    ) -> None:
        """Send everything, with questions meanwhile."""
        self.tally.progress = progress
        watching = None
        try:
            await transport.open()
            if auditor is not None:
                watching = asyncio.create_task(auditor.watch())
            await self.generator.run(transport)
        finally:
            if watching is not None:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
            await transport.close()


def _write(file: Path, run: _Run) -> None:
    ledger, schedule = run.ledger, run.schedule
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(("dpu_id", "timestamp", "direction", "seq", "fate"))
        for event in range(len(ledger)):
            if not ledger.directions[event]:
                continue
            fate = (
                "stored" if ledger.stored[event] else "unknown" if ledger.is_possible(event) else "not stored"
            )
            at = _EPOCH + timedelta(microseconds=ledger.times[event])
            writer.writerow(
                (
                    run.site.dpu_id(schedule.dpu(event)),
                    at.isoformat(timespec="microseconds"),
                    ledger.directions[event],
                    schedule.seq(event),
                    fate,
                )
            )
