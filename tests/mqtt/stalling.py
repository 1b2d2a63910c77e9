"""A way to the database that can be made to stall, in either direction."""

from __future__ import annotations

import asyncio
from types import TracebackType

from sqlalchemy.engine import make_url


class Stalling:
    """Forwards connections to the database at `url`; `requests` and `answers` hold theirs back while cleared."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self.requests = asyncio.Event()
        self.answers = asyncio.Event()
        self.requests.set()
        self.answers.set()
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Stalling:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.05)

    @property
    def url(self) -> str:
        """The database, this way."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return self._url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(self._url.host, self._url.port)
        self._writers += [writer, there[1]]
        await asyncio.gather(
            _forward(reader, there[1], self.requests), _forward(there[0], writer, self.answers)
        )


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may: asyncio.Event) -> None:
    try:
        while data := await reader.read(65_536):
            await may.wait()
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
