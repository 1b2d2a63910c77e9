"""What a run comes to: for a machine as JSON, for people as a table."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from occupancy.load.audit import Auditor, Counts
from occupancy.load.generator import Conduct, Generator
from occupancy.load.ledger import Ledger
from occupancy.load.plan import Plan
from occupancy.load.tally import Tally

# Later than this after its time, for one request in a thousand, the generator is part of what was measured.
_TOLERABLE_LAG_MILLISECONDS = 20.0
_ENDS = ("accepted", "duplicates", "rejected", "refused", "failed", "unknown", "unsent")


@dataclass(frozen=True, slots=True)
class Report:
    """A run, as JSON has it. `right`: no count was wrong and no receipt contradicted another."""

    document: dict[str, Any]

    @property
    def right(self) -> bool:
        """Whether everything that could be checked was right."""
        counts = self.document["counts"]
        wrong = counts is not None and (counts["during"]["wrong"] or counts["afterwards"]["wrong"])
        return not wrong and self.document["receipts_agree"] is not False

    def print(self, console: Console) -> None:
        """Write it for people."""
        _print(self.document, console)
        if not self.right:
            console.print(
                "[bold red]the service was wrong:[/] see `counts` and `receipts_agree`", highlight=False
            )


def report(
    plan: Plan, conduct: Conduct, tally: Tally, ledger: Ledger, generator: Generator, *, settles: bool
) -> dict[str, Any]:
    """The document of a run, without the counts. `settles`: events are stored some time after the acknowledgement."""
    return {
        "plan": _plan(plan) | {"retry": conduct.retry, "timeout": conduct.timeout},
        "started_at": generator.start / 1e6,
        "messages": {"scheduled": tally.scheduled, **{end: tally.messages[end] for end in _ENDS}},
        "messages_measured": {end: tally.measured[end] for end in _ENDS},
        "rejected_by_code": dict(sorted(tally.codes.items())),
        "requests": {
            "sent": tally.attempts,
            "sent_again": tally.repeated_attempts,
            "by_answer": dict(tally.requests.most_common()),
        },
        "events_stored": ledger.distinct,
        "receipts_agree": None if settles else _receipts_agree(tally, ledger),
        "per_second": _per_second(plan, tally),
        "response_time_ms": tally.response.summary(),
        "service_time_ms": tally.service.summary(),
        "refusal_time_ms": tally.refusal.summary(),
        "generator": _generator(plan, tally, generator),
        "timeline": tally.timeline,
    }


def counts_document(counts: Counts, auditor: Auditor, seconds: float) -> dict[str, Any]:
    """The part about counts; `seconds` after the end, the counts were as they are told of."""
    return {
        "during": auditor.during.summary(),
        "afterwards": auditor.afterwards.summary() | {"seconds": round(seconds, 3)},
        "unanswered": dict(counts.unanswered.most_common()),
        "response_time_ms": counts.latencies.summary(),
        "wrong": auditor.examples,
    }


def _plan(plan: Plan) -> dict[str, Any]:
    document = asdict(plan)
    document["phases"] = [
        {"seconds": phase.seconds, "rate": "max" if math.isinf(phase.rate) else phase.rate}
        for phase in plan.phases
    ]
    return document


def _receipts_agree(tally: Tally, ledger: Ledger) -> bool | None:
    """Whether `accepted` of all receipts is the number of different events acknowledged; None where it need not be.

    An attempt of unknown fate may have stored what the next one is told is a duplicate.
    """
    # 202: a log in front of the database knows of no duplicates
    if not set(tally.requests) <= {"200", "400", "413", "422", "429"}:
        return None
    return tally.messages["accepted"] == ledger.distinct


def _per_second(plan: Plan, tally: Tally) -> dict[str, float | None]:
    """Messages a second, over the whole seconds after the warm-up and before the last message was due."""
    first, end = math.ceil(plan.warm_up), math.floor(plan.seconds)
    rows = [row for row in tally.timeline if first <= row["second"] < end]
    if not rows:
        return {"seconds": 0, "due": None, "acknowledged": None, "refused": None}
    return {
        "seconds": len(rows),
        **{
            name: round(sum(row[name] for row in rows) / len(rows), 1)
            for name in ("due", "acknowledged", "refused")
        },
    }


def _generator(plan: Plan, tally: Tally, generator: Generator) -> dict[str, Any]:
    lag = tally.lag.summary()
    late = lag["p999"] is not None and lag["p999"] > _TOLERABLE_LAG_MILLISECONDS
    return {
        "cpu_seconds": round(generator.cpu_seconds, 3),
        "seconds": round(generator.seconds, 3),
        "cpu_share_of_a_core": round(generator.cpu_seconds / max(generator.seconds, 1e-9), 3),
        "lag_ms": lag,
        "fell_behind": late and not plan.unpaced,
    }


def _print(document: dict[str, Any], console: Console) -> None:
    messages, pace = document["messages"], document["per_second"]
    table = Table.grid(padding=(0, 2))
    table.add_row("messages", f"{messages['scheduled']}: " + _listed(messages, _ENDS))
    if document["rejected_by_code"]:
        table.add_row("rejected", _listed(document["rejected_by_code"]))
    requests = document["requests"]
    table.add_row(
        "requests", f"{requests['sent']} ({requests['sent_again']} again): " + _listed(requests["by_answer"])
    )
    if pace["due"] is not None:
        table.add_row(
            "per second", f"{pace['due']} due, {pace['acknowledged']} acknowledged, {pace['refused']} refused"
        )
    for name, title in (
        ("response_time_ms", "response"),
        ("service_time_ms", "service"),
        ("refusal_time_ms", "refusal"),
    ):
        if document[name]["number"]:
            table.add_row(title, _times(document[name]))
    _add_counts(table, document["counts"])
    own = document["generator"]
    table.add_row(
        "generator",
        f"{own['cpu_seconds']:.1f} CPU seconds, {100 * own['cpu_share_of_a_core']:.0f} % of a core",
    )
    console.print(table, highlight=False)
    console.print(
        "response: from when a request was due; service: from when it was sent; milliseconds", style="dim"
    )
    if own["fell_behind"]:
        console.print(
            "[bold red]the generator fell behind its own schedule[/] "
            f"(p99.9 {own['lag_ms']['p999']} ms): it needs more of a processor; latencies include its delay",
            highlight=False,
        )


def _add_counts(table: Table, counts: dict[str, Any] | None) -> None:
    if counts is None:
        return
    for name in ("during", "afterwards"):
        score = counts[name]
        table.add_row(
            f"counts {name}",
            f"{score['compared']} compared ({score['exactly']} with nothing on its way), {score['wrong']} wrong",
        )
    if counts["unanswered"]:
        table.add_row("not answered", _listed(counts["unanswered"]))
    for example in counts["wrong"][:3]:
        table.add_row("wrong", str(example))


def _listed(numbers: dict[str, Any], names: tuple[str, ...] | None = None) -> str:
    return ", ".join(f"{numbers[name]} {name}" for name in names or numbers if numbers[name])


def _times(summary: dict[str, Any]) -> str:
    return ", ".join(f"{name} {summary[name]}" for name in ("p50", "p90", "p99", "p999", "max"))
