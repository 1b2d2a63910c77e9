"""The main job from end to end: a building, a day of events with the defects of the field, and the right answers."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import httpx
import uvicorn
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import async_sessionmaker

from occupancy import address, schema
from occupancy.app import create_app
from occupancy.database import DEFAULT_ORGANIZATION, Database, topology_engine
from occupancy.layout import Layout
from occupancy.refresh import Refresher
from occupancy.settings import Settings
from occupancy.simulation import BuildingPlan, Correction, Defects, Simulation, simulate
from occupancy.topology import Topology

DAY = date(2026, 3, 2)
_SHOWN_AT = datetime(2026, 3, 2, 15, 34, tzinfo=UTC)
_SHOWN_SPACES = 6
_PEOPLE = 120
_SEED = 1
_INSTANTS = 100
_START_SECONDS = 30


@dataclass(slots=True)
class _Score:
    asked: int = 0
    wrong: int = 0


def run_demo(settings: Settings, console: Console) -> bool:
    """Run the demo on the database that is set, or on the embedded one, which is started and stopped for it.

    True if every answer equals the simulated truth. The data stay in the database.
    """
    simulation = simulate(BuildingPlan(), DAY, people=_PEOPLE, seed=_SEED, defects=Defects.field())
    if settings.database_url is not None:
        return _on(settings.database_url.get_secret_value(), settings, simulation, console)
    database = address.embedded(settings)
    was_running = database.url() is not None
    url = database.start(report=lambda line: console.print(line, style="dim", highlight=False))
    try:
        return _on(url, settings, simulation, console)
    finally:
        if not was_running:
            database.stop()


def _on(url: str, settings: Settings, simulation: Simulation, console: Console) -> bool:
    asyncio.run(schema.migrate(url))
    asyncio.run(_declare(url, simulation.layout))
    floors, rooms = simulation.plan.floors, simulation.plan.rooms_per_floor
    console.print(f"declared a building of {floors} floors with {rooms} rooms each", highlight=False)
    with _service(settings, url) as client:
        _send(client, simulation, console)
        before = _compare(client, simulation)
        console.print(
            f"one DPU hangs the wrong way round: {before.wrong} of {before.asked} answers differ from the truth",
            highlight=False,
        )
        for correction in simulation.corrections:
            _correct(client, correction)
            console.print(f"put right for all of its history: {correction.dpu_id}", highlight=False)
        score = _compare(client, simulation)
        asyncio.run(_refresh(url, settings))
        refreshed = _compare(client, simulation)
        score.asked += refreshed.asked
        score.wrong += refreshed.wrong
        _show(client, simulation, console)
    right = score.wrong == 0 and before.wrong > 0
    colour = "green" if right else "red"
    console.print(
        f"[{colour}]{score.asked - score.wrong} of {score.asked} answers equal the truth,[/] "
        "before and after the aggregates were refreshed",
        highlight=False,
    )
    _say_what_next(console, settings)
    return right


async def _declare(url: str, layout: dict[str, Any]) -> None:
    engine = topology_engine(url)
    try:
        topology = Topology(async_sessionmaker(engine, expire_on_commit=False), DEFAULT_ORGANIZATION)
        await Layout(topology).apply(layout)
    finally:
        await engine.dispose()


async def _refresh(url: str, settings: Settings) -> None:
    database = await Database.connect(url, 1)
    try:
        refresher = Refresher(database, settings)
        # Another one at work does the same: wait for it to end, then know that all is materialized.
        while not await refresher.run_once():  # noqa: ASYNC110 -- the other one is not in this process
            await asyncio.sleep(0.2)
    finally:
        await database.close()


@contextmanager
def _service(settings: Settings, url: str) -> Iterator[httpx.Client]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(create_app(settings, url), log_level="warning")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not server.started:
                if not thread.is_alive() or time.monotonic() > deadline:
                    raise RuntimeError("the service did not start; its log is above")
                time.sleep(0.05)
            key = settings.api_key
            headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
            port = listener.getsockname()[1]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(_START_SECONDS)


def _send(client: httpx.Client, simulation: Simulation, console: Console) -> None:
    accepted = duplicates = sent = 0
    for batch in simulation.deliveries():
        events = [
            {
                "dpu_id": event.dpu_id,
                "timestamp": event.timestamp.isoformat(),
                "direction": event.direction,
                "seq": event.seq,
            }
            for event in batch
        ]
        receipt = _json(client.post("/v1/events", json={"events": events}))
        if receipt["rejected"]:
            raise RuntimeError(f"the service rejected {receipt['rejected'][0]}")
        accepted += receipt["accepted"]
        duplicates += receipt["duplicates"]
        sent += len(events)
    console.print(
        f"sent {sent} events, late, shuffled and some twice: {accepted} accepted, {duplicates} duplicates",
        highlight=False,
    )


def _correct(client: httpx.Client, correction: Correction) -> None:
    placements = _json(client.get(f"/v1/dpus/{correction.dpu_id}/placements"))["items"]
    start = None if correction.start is None else correction.start.timestamp()
    for placement in placements:
        since = placement["from"]
        if (None if since is None else datetime.fromisoformat(since).timestamp()) == start:
            _json(
                client.put(
                    f"/v1/dpus/{correction.dpu_id}/placements/{placement['placement_id']}",
                    json={
                        "doorway_id": placement["doorway_id"],
                        "facing": correction.facing,
                        "from": placement["from"],
                        "to": placement["to"],
                    },
                )
            )
            return
    raise RuntimeError(f"{correction.dpu_id} has no placement from {correction.start}")


def _compare(client: httpx.Client, simulation: Simulation) -> _Score:
    score = _Score()
    for at in simulation.instants(_INSTANTS):
        for answer in _counts(client, simulation, at):
            score.asked += 1
            score.wrong += answer["net"] != simulation.net(answer["space_id"], at)
    return score


def _counts(client: httpx.Client, simulation: Simulation, at: datetime) -> list[dict[str, Any]]:
    spaces = ",".join(simulation.spaces())
    items: list[dict[str, Any]] = _json(
        client.get("/v1/counts", params={"at": at.isoformat(), "space_id": spaces})
    )["items"]
    return items


def _show(client: httpx.Client, simulation: Simulation, console: Console) -> None:
    table = Table(
        "space", "count", "truth", title=f"people at {_SHOWN_AT:%Y-%m-%d %H:%M} UTC", title_justify="left"
    )
    for answer in _counts(client, simulation, _SHOWN_AT)[:_SHOWN_SPACES]:
        truth = simulation.net(answer["space_id"], _SHOWN_AT)
        table.add_row(answer["space_id"], str(answer["count"]), str(truth))
    console.print(table)


def _say_what_next(console: Console, settings: Settings) -> None:
    address_ = f"http://{settings.host}:{settings.port}"
    console.print("\nThe data stay. Run `make serve`, and in another terminal:")
    for path in (
        f"/v1/spaces/building/count?at={_SHOWN_AT:%Y-%m-%dT%H:%M:%SZ}",
        f"/v1/counts?parent_id=building&at={_SHOWN_AT:%Y-%m-%dT%H:%M:%SZ}",
        "/docs",
    ):
        console.print(f"  curl '{address_}{path}'", highlight=False, soft_wrap=True)


def _json(response: httpx.Response) -> Any:
    if response.is_error:
        raise RuntimeError(f"{response.request.method} {response.request.url}: {response.text}")
    return response.json()
