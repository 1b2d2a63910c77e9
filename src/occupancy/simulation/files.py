"""A simulated day as files: what `occupancy apply` and `occupancy import` take, and what is true."""

from __future__ import annotations

import copy
import csv
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from occupancy.simulation.clock import rfc3339
from occupancy.simulation.simulation import Simulation

_EVERY = timedelta(minutes=15)


def write_simulation(simulation: Simulation, directory: Path) -> Iterator[Path]:
    """Write layout.yaml, events.csv in order of arrival, truth.csv, and corrected-layout.yaml if the first is wrong.

    Yields each file once it is written. The directory is made if it is not there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    yield _write_yaml(directory / "layout.yaml", simulation.layout)
    if simulation.corrections:
        yield _write_yaml(directory / "corrected-layout.yaml", corrected_layout(simulation))
    delivered = (event for batch in simulation.deliveries() for event in batch)
    events = ((rfc3339(event.timestamp), event.direction, event.dpu_id, event.seq) for event in delivered)
    yield _write_csv(directory / "events.csv", ("timestamp", "direction", "dpu_id", "seq"), events)
    yield _write_csv(directory / "truth.csv", ("timestamp", "space_id", "count"), _truth(simulation))


def corrected_layout(simulation: Simulation) -> dict[str, Any]:
    """The layout as it should have been declared: every correction made."""
    layout = copy.deepcopy(simulation.layout)
    right = {(c.dpu_id, c.doorway_id, rfc3339(c.start)): c.facing for c in simulation.corrections}
    for dpu in layout["dpus"]:
        for placement in dpu["placements"]:
            key = (dpu["dpu_id"], placement["doorway_id"], placement["from"])
            placement["facing"] = right.get(key, placement["facing"])
    return layout


def _truth(simulation: Simulation) -> Iterator[tuple[str | None, str, int]]:
    at = simulation.events[0].timestamp.replace(minute=0, second=0, microsecond=0)
    while at <= simulation.events[-1].timestamp + _EVERY:
        for space_id in simulation.spaces():
            yield rfc3339(at), space_id, simulation.net(space_id, at)
        at += _EVERY


def _write_yaml(file: Path, document: dict[str, Any]) -> Path:
    file.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file


def _write_csv(file: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> Path:
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(header)
        writer.writerows(rows)
    return file
