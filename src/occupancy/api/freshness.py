"""What an answer says of its freshness, and the token with which a later read includes what was just written."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from occupancy.reading.database import ReadDatabase
from occupancy.reading.position import HEADER
from occupancy.reading.reads import Reads

AS_OF = "Occupancy-As-Of"
LAG = "Occupancy-Lag"
SOURCE = "Occupancy-Source"

# Not in the scope's "state": a server may have one for all requests.
_TOLD = "occupancy.reads"
_READING = {"GET", "HEAD", "OPTIONS"}
# Not 202: what is queued in Kafka is not in the database yet, so that no position stands for it.
_WRITTEN = {200, 201, 204}


def tell_of(scope: Scope, reads: Reads) -> None:
    """Have the answer to a request say how fresh its reads were."""
    scope.get(_TOLD, []).append(reads)


class Freshness:
    """Adds to each answer, whatever it is: how fresh what was read is, or a token of what was written."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and look at the answer as it begins: everything is read or committed by then.

        A file goes on to be read; none of its later pages holds less than the first one.
        """
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        told: list[Reads] = []
        scope[_TOLD] = told

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for reads in told:
                    _say_freshness(headers, reads)
                if scope["method"] not in _READING and message["status"] in _WRITTEN:
                    await _give_token(headers, scope["app"].state.reads)
            await send(message)

        return await self._app(scope, receive, with_headers)


def _say_freshness(headers: MutableHeaders, reads: Reads) -> None:
    freshness = reads.freshness
    if freshness is not None:
        headers[AS_OF] = freshness.as_of.isoformat(timespec="microseconds").replace("+00:00", "Z")
        headers[LAG] = f"{freshness.lag.total_seconds():.3f}"
        headers[SOURCE] = freshness.source


async def _give_token(headers: MutableHeaders, database: ReadDatabase) -> None:
    token = await database.token()
    if token is not None:
        headers[HEADER] = token
