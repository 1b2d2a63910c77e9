"""A broker whose every packet a test can see: it keeps one session, and delivers again what was not acknowledged."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 1, 2, 3, 4, 8, 9
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14
_DUP = 0x08


@dataclass(slots=True)
class Delivery:
    """A message of QoS 1 that is not acknowledged."""

    mid: int
    topic: str
    payload: bytes
    times: int = 0


@dataclass(slots=True)
class Connect:
    """What a client asked for; `receive_maximum` and `session_expiry` are None where it did not say."""

    version: int
    clean: bool
    client_id: str
    username: str | None
    password: str | None
    receive_maximum: int | None
    session_expiry: int | None


@dataclass(slots=True)
class ScriptedBroker:
    """One client at a time. `refuse`: reason code of CONNACK; `granted`: reason code of SUBACK."""

    port: int = 0
    tls: ssl.SSLContext | None = None
    refuse: int = 0
    granted: int = 1
    silent: bool = False
    # of CONNACK, for MQTT 5
    properties: bytes = b""
    connects: list[Connect] = field(default_factory=list)
    filters: list[str] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    strange_acknowledgements: list[int] = field(default_factory=list)
    disconnects: int = 0
    pings: int = 0
    redelivered: int = 0
    unacknowledged: dict[int, Delivery] = field(default_factory=dict)
    _server: asyncio.Server | None = None
    _writer: asyncio.StreamWriter | None = None
    _session: bool = False
    _subscribed: bool = False
    _version: int = 5
    _free: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> ScriptedBroker:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; again on the same port after `stop`. The session is kept."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End the connection, and listen no more."""
        if self._server is not None:
            self._server.close()
            await self.cut()
            await self._server.wait_closed()

    async def cut(self) -> None:
        """End the connection without a word."""
        if self._writer is not None:
            self._writer.transport.abort()
            await self._free.wait()

    async def disconnect(self, reason: int) -> None:
        """End the connection, and say why (MQTT 5)."""
        assert self._writer is not None
        self._writer.write(_framed(DISCONNECT, bytes([reason])))
        await self._writer.drain()
        self._writer.close()
        await self._free.wait()

    async def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> int:
        """Deliver a message, or keep it for the session. Returns its packet identifier, 0 with QoS 0."""
        if qos == 0:
            assert self._writer is not None
            self._writer.write(self._packet(Delivery(0, topic, payload), qos=0, retain=retain))
            await self._writer.drain()
            return 0
        # The lowest that is free, as Mosquitto does not but may: it shows acknowledgements that are mixed up.
        mid = next(number for number in range(1, 65_536) if number not in self.unacknowledged)
        self.unacknowledged[mid] = Delivery(mid, topic, payload)
        await self._deliver(self.unacknowledged[mid], retain)
        return mid

    async def publish_at_once(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Deliver messages in one piece, as a broker does that has many."""
        assert self._writer is not None
        pieces = []
        for payload in payloads:
            mid = len(self.unacknowledged) + 1
            self.unacknowledged[mid] = Delivery(mid, topic, payload)
            pieces.append(self._packet(self.unacknowledged[mid], qos=1, retain=False))
        self._writer.write(b"".join(pieces))
        await self._writer.drain()

    def forget_session(self) -> None:
        """As after a restart of a broker that keeps nothing."""
        self._session = self._subscribed = False
        self.unacknowledged.clear()

    @property
    def is_connected(self) -> bool:
        """Whether a client is connected and subscribed."""
        return self._writer is not None and self._subscribed

    async def _deliver(self, delivery: Delivery, retain: bool = False) -> None:
        if self._writer is None or not self._subscribed:
            return
        self.redelivered += delivery.times > 0
        self._writer.write(self._packet(delivery, qos=1, retain=retain))
        delivery.times += 1
        await self._writer.drain()

    def _packet(self, delivery: Delivery, qos: int, retain: bool) -> bytes:
        topic = delivery.topic.encode("utf-8", "surrogateescape")
        body = struct.pack("!H", len(topic)) + topic
        if qos:
            body += struct.pack("!H", delivery.mid)
        body += self._no_properties()
        flags = (_DUP if delivery.times else 0) | qos << 1 | retain
        return _framed(PUBLISH, body + delivery.payload, flags)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._writer = writer
        self._free.clear()
        try:
            while True:
                kind, body = await _read(reader)
                await self._answer(kind, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            if self._writer is writer:
                self._writer = None
                self._subscribed = False
                self._free.set()

    async def _answer(self, kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == CONNECT:
            await self._on_connect(_connect(body), writer)
        elif kind == SUBSCRIBE:
            await self._on_subscribe(body, writer)
        elif kind == PUBACK:
            mid = struct.unpack("!H", body[:2])[0]
            if self.unacknowledged.pop(mid, None) is None:
                self.strange_acknowledgements.append(mid)
            self.acknowledged.append(mid)
        elif kind == PINGREQ:
            self.pings += 1
            writer.write(_framed(PINGRESP, b""))
        elif kind == DISCONNECT:
            self.disconnects += 1
        await writer.drain()

    async def _on_connect(self, connect: Connect, writer: asyncio.StreamWriter) -> None:
        self.connects.append(connect)
        self._version = connect.version
        if self.silent:
            return
        present = self._session and not self.refuse
        properties = bytes([len(self.properties)]) + self.properties if self._version == 5 else b""
        writer.write(_framed(CONNACK, bytes([present, self.refuse]) + properties))
        if self.refuse:
            writer.close()
        elif self._session:
            await self._deliver_all()

    async def _on_subscribe(self, body: bytes, writer: asyncio.StreamWriter) -> None:
        rest = body[2:] if self._version != 5 else body[3 + body[2] :]
        length = struct.unpack("!H", rest[:2])[0]
        self.filters.append(rest[2 : 2 + length].decode())
        writer.write(_framed(SUBACK, body[:2] + self._no_properties() + bytes([self.granted])))
        if not self._subscribed:
            await self._deliver_all()

    async def _deliver_all(self) -> None:
        self._session = self._subscribed = True
        for delivery in list(self.unacknowledged.values()):
            await self._deliver(delivery)

    def _no_properties(self) -> bytes:
        return b"\0" if self._version == 5 else b""


def _framed(kind: int, body: bytes, flags: int = 0) -> bytes:
    length, rest = bytearray(), len(body)
    while True:
        rest, digit = divmod(rest, 128)[0], rest % 128
        length.append(digit | (0x80 if rest else 0))
        if not rest:
            return bytes([kind << 4 | flags]) + bytes(length) + body


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind = (await reader.readexactly(1))[0] >> 4
    length, shift = 0, 0
    while True:
        digit = (await reader.readexactly(1))[0]
        length |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            return kind, await reader.readexactly(length)


def _connect(body: bytes) -> Connect:
    version, flags = body[6], body[7]
    place = 10
    found: dict[int, int] = {}
    if version == 5:
        end = place + 1 + body[place]
        place += 1
        while place < end:
            name = body[place]
            width = {0x11: 4, 0x21: 2}[name]
            found[name] = int.from_bytes(body[place + 1 : place + 1 + width])
            place += 1 + width
    texts = []
    while place < len(body):
        length = struct.unpack("!H", body[place : place + 2])[0]
        texts.append(body[place + 2 : place + 2 + length].decode())
        place += 2 + length
    username = texts[1] if flags & 0x80 else None
    password = texts[2] if flags & 0x40 else None
    return Connect(version, bool(flags & 2), texts[0], username, password, found.get(0x21), found.get(0x11))
