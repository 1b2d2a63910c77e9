"""/metrics and /healthz of a process that serves nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from occupancy.errors import InvalidInput

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class _Server(ThreadingMixIn, WSGIServer):
    """Answers each connection by itself: one that says nothing holds up no other, nor the end of the process."""

    daemon_threads = True
    block_on_close = False


class _Quiet(WSGIRequestHandler):
    # in seconds; after it, a connection that says nothing is closed
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Scrapes are no news."""


@contextmanager
def monitored(
    host: str, port: int | None, registry: CollectorRegistry, is_alive: Callable[[], bool]
) -> Iterator[int | None]:
    """Serve /metrics of `registry`, and /healthz with 200 or 503, in a thread of its own; yields the port.

    Without a port nothing is served. Raises InvalidInput where the port is taken.
    """
    if port is None:
        yield None
        return
    try:
        server = make_server(
            host, port, _application(registry, is_alive), server_class=_Server, handler_class=_Quiet
        )
    except OSError as error:
        raise InvalidInput(
            f"OCCUPANCY_METRICS_PORT: cannot listen on {host}, port {port}: {error.strerror}",
            field="OCCUPANCY_METRICS_PORT",
            value=port,
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="monitoring", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _application(registry: CollectorRegistry, is_alive: Callable[[], bool]) -> Any:
    metrics = make_wsgi_app(registry)

    def application(environment: WSGIEnvironment, respond: StartResponse) -> Iterable[bytes]:
        if environment["PATH_INFO"] == "/metrics":
            answer: Iterable[bytes] = metrics(environment, respond)
            return answer
        if environment["PATH_INFO"] == "/healthz":
            alive = is_alive()
            respond("200 OK" if alive else "503 Service Unavailable", [("Content-Type", "application/json")])
            return [b'{"status":"ok"}' if alive else b'{"status":"stuck"}']
        respond("404 Not Found", [("Content-Type", "text/plain")])
        return [b"there are /metrics and /healthz\n"]

    return application
