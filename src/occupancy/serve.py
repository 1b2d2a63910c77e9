"""The processes that listen."""

from __future__ import annotations

import os
import tempfile

import uvicorn
from fastapi import FastAPI

from occupancy import address
from occupancy.api.door import Door
from occupancy.app import create_app
from occupancy.heap import collect_seldom
from occupancy.settings import Settings

_METRICS = "PROMETHEUS_MULTIPROC_DIR"


def serve_http(settings: Settings, workers: int) -> None:
    """Run the service on the host and port of the settings, in one process or several, until it is told to stop."""
    if workers == 1:
        _run(settings)
        return
    # A scrape reaches one of them, and must tell of all.
    with tempfile.TemporaryDirectory(prefix="occupancy-metrics-") as directory:
        os.environ.setdefault(_METRICS, directory)
        _run(settings, workers)


def app() -> FastAPI:
    """The service as the environment describes it: each process makes its own."""
    settings = Settings()
    service = create_app(settings, address.database_url(settings))
    collect_seldom()
    return service


def _run(settings: Settings, workers: int = 1) -> None:
    uvicorn.run(
        "occupancy.serve:app",
        factory=True,
        host=settings.host,
        port=settings.port,
        http=Door,
        workers=workers,
        server_header=False,
        # longer than a statement may take: what was taken is answered
        timeout_graceful_shutdown=30,
        timeout_keep_alive=round(settings.keep_alive.total_seconds()),
        # A line for each of thousands of requests a second costs more than the requests; metrics count them.
        access_log=False,
    )
