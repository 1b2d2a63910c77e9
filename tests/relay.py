"""A way to a database that can be cut, or hang, while the service runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy.engine import make_url


class Relay:
    """Passes on what comes in on a port of its own."""

    def __init__(self, url: str) -> None:
        self._target = make_url(url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._is_cut = False
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def to(cls, url: str) -> AsyncIterator[Relay]:
        """A relay to the database at `url`, on TCP."""
        relay = cls(url)
        server = await asyncio.start_server(relay._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        own = relay._target.set(host="127.0.0.1", port=port)
        relay.url = own.render_as_string(hide_password=False)
        try:
            yield relay
        finally:
            relay.cut()
            server.close()

    def cut(self) -> None:
        """End all connections, and each new one."""
        self._is_cut = True
        self._open.set()
        for writer in self._writers:
            writer.transport.abort()

    def hang(self) -> None:
        """Pass nothing on, and say nothing."""
        self._open.clear()

    def mend(self) -> None:
        """Pass on again."""
        self._is_cut = False
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        await self._open.wait()
        if self._is_cut:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers.add(back)
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
        self._writers.discard(writer)
