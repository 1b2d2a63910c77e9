"""One connection to the broker, on the event loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from occupancy.errors import BrokerUnavailable
from occupancy.mqtt.broker import Broker
from occupancy.mqtt.errors import BrokerRefused
from occupancy.mqtt.message import Message
from occupancy.mqtt.topic import Topic

# Seconds: for TCP and TLS, for each answer of the broker, and for what is still to be sent at the end.
_CONNECT_PATIENCE = 5.0
_ANSWER_PATIENCE = 10.0
_CLOSE_PATIENCE = 2.0
_TICK = 0.5
# Read at once, before others on the loop have their turn.
_MESSAGES_PER_TURN = 100
# Refusals that may pass: 3.1.1 knows the first only.
_PASSING = frozenset({"Server unavailable", "Server busy", "Connection rate exceeded", "Quota exceeded"})
_QOS = 1


class Connection:
    """From CONNECT to the end: it is not opened again, since acknowledgements belong to the connection of a message.

    The session outlives it: the broker keeps what it could not deliver, and delivers again what was not acknowledged.
    The subscription is of QoS 1: what is published with QoS 2 is delivered with QoS 1, because a client that takes
    QoS 2 takes a message over from the broker before it can be durable here.
    """

    def __init__(self, broker: Broker, deliver: Callable[[Message], None]) -> None:
        self._broker = broker
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._connack: asyncio.Future[tuple[paho.ConnectFlags, ReasonCode, Properties]] = (
            self._loop.create_future()
        )
        self._suback: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self._received = 0
        self._reading = False
        self._writing = False
        self._paused_at: float | None = None
        self._is_receiving = True
        self._reason = "the connection was lost"
        self._watched: Any = None
        self.session_present = False
        self.session_expiry = broker.session_expiry
        self.granted_qos = _QOS
        self._client = self._make_client()

    async def open(self, topic: Topic) -> None:
        """Connect and subscribe. Messages are delivered from the middle of it on, on the loop.

        Raises BrokerRefused where trying again does not help, else BrokerUnavailable.
        """
        try:
            await self._connect()
            await self._subscribe(topic)
        except BaseException:
            self._abandon("given up")
            raise

    @property
    def is_open(self) -> bool:
        """Whether the broker can be told anything."""
        return not self._ended.done()

    async def ended(self) -> str:
        """Wait for the end of the connection; why it ended, in words."""
        return await asyncio.shield(self._ended)

    def acknowledge(self, message: Message) -> bool:
        """Tell the broker that the message is durable. False if the connection is gone: it will come again."""
        if not self.is_open:
            return False
        if message.qos > 0:
            self._client.ack(message.mid, message.qos)
            self._settle()
        return True

    def pause(self) -> None:
        """Read nothing more for now, so that TCP holds the broker back."""
        if self._paused_at is None and self.is_open:
            self._paused_at = self._loop.time()
            self._watch()

    def resume(self) -> None:
        """Read on."""
        if self._paused_at is not None and self.is_open:
            self._paused_at = None
            self._watch()
            # TLS may have decrypted more than was read; the socket says nothing of that.
            self._loop.call_soon(self._on_readable)

    def stop_receiving(self) -> None:
        """Leave further messages to the broker: they are read, not delivered and not acknowledged."""
        self._is_receiving = False
        self.resume()

    def abort(self) -> None:
        """End it without a word to the broker: `open` gives up, if it has not been answered yet."""
        self._abandon("aborted")

    async def close(self) -> None:
        """Disconnect in good order, after what is still to be sent; the session stays."""
        if not self.is_open:
            return
        self._reason = "closed"
        self._client.disconnect()
        self._settle()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.ended(), _CLOSE_PATIENCE)
        self._abandon("closed")

    def _make_client(self) -> paho.Client:
        is_5 = self._broker.version == "5"
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._broker.client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if is_5 else MQTTProtocolVersion.MQTTv311,
            clean_session=None if is_5 else False,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = _CONNECT_PATIENCE
        if self._broker.username is not None:
            client.username_pw_set(self._broker.username, self._broker.password)
        if self._broker.tls is not None:
            client.tls_set_context(self._broker.tls)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        client.on_socket_close = self._on_socket_close
        return client

    # The way in

    async def _connect(self) -> None:
        broker = self._broker
        try:
            # It looks up a name and shakes hands, waiting for both.
            await asyncio.to_thread(self._connect_and_wait)
        except ssl.SSLCertVerificationError as error:
            raise BrokerRefused(
                f"{broker} has a certificate that is not trusted: {error.verify_message}"
            ) from error
        except (OSError, ValueError) as error:
            raise BrokerUnavailable(f"{broker} cannot be reached: {error}") from error
        if not self.is_open:
            raise BrokerUnavailable(f"{broker} was given up: {self._ended.result()}")
        self._watched = self._client.socket()
        self._watch()
        self._settle()
        self._loop.call_later(_TICK, self._tick)
        flags, reason, properties = await self._answer(self._connack, "CONNECT")
        if reason.is_failure:
            raise _refusal(f"{broker} refuses the connection: {reason}{_hint(broker, reason)}", reason)
        self.session_present = flags.session_present
        self.session_expiry = getattr(properties, "SessionExpiryInterval", broker.session_expiry)
        if broker.group is not None and getattr(properties, "SharedSubscriptionAvailable", 1) == 0:
            raise BrokerRefused(
                f"{broker} has no shared subscriptions: leave out OCCUPANCY_MQTT_GROUP, and run one bridge"
            )

    def _connect_and_wait(self) -> None:
        broker = self._broker
        if broker.version == "5":
            properties = _properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = broker.session_expiry
            properties.ReceiveMaximum = broker.max_inflight
            self._client.connect(
                broker.host, broker.port, broker.keepalive, clean_start=False, properties=properties
            )
        else:
            self._client.connect(broker.host, broker.port, broker.keepalive)

    async def _subscribe(self, topic: Topic) -> None:
        wanted = topic.filter if self._broker.group is None else f"$share/{self._broker.group}/{topic.filter}"
        if self._broker.version == "5":
            # Retained messages come with a new subscription only, which a kept session spares.
            retained = SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            self._client.subscribe(wanted, options=SubscribeOptions(qos=_QOS, retainHandling=retained))
        else:
            self._client.subscribe(wanted, _QOS)
        self._settle()
        (reason,) = await self._answer(self._suback, "SUBSCRIBE")
        if reason.is_failure:
            raise _refusal(f"{self._broker} refuses the subscription to {wanted!r}: {reason}", reason)
        self.granted_qos = cast("int", reason.value)

    async def _answer(self, answer: asyncio.Future[Any], packet: str) -> Any:
        done: set[asyncio.Future[Any]] = set()
        while not done:
            done, _ = await asyncio.wait(
                {answer, self._ended}, timeout=_ANSWER_PATIENCE, return_when=asyncio.FIRST_COMPLETED
            )
            # What the session has kept may come first, and fill the queue.
            if self._paused_at is None:
                break
        if answer.done():
            return answer.result()
        why = self._ended.result() if self._ended.done() else f"no answer in {_ANSWER_PATIENCE:.0f} s"
        raise BrokerUnavailable(f"{self._broker} did not answer {packet}: {why}")

    # The client's callbacks, on the loop: they only take note, since it holds a lock while they run

    def _on_connect(
        self,
        _client: paho.Client,
        _userdata: Any,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if not self._connack.done():
            self._connack.set_result((flags, reason, properties or _properties(PacketTypes.CONNACK)))

    def _on_subscribe(
        self,
        _client: paho.Client,
        _userdata: Any,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        if not self._suback.done():
            self._suback.set_result(reasons)

    def _on_message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        self._received += 1
        if self._is_receiving:
            # not message.topic, which raises for what is no UTF-8
            topic, payload = message._topic, bytes(message.payload)  # noqa: SLF001
            self._deliver(Message(topic, payload, message.qos, message.mid, time.monotonic(), self))

    def _on_disconnect(
        self,
        _client: paho.Client,
        _userdata: Any,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._reason = f"the broker disconnected: {reason}"

    def _on_socket_close(self, _client: paho.Client, _userdata: Any, _socket: Any) -> None:
        # Before it is closed: the loop forgets a socket by its number, which the next one may get.
        if self._reading:
            self._loop.remove_reader(self._watched)
        if self._writing:
            self._loop.remove_writer(self._watched)
        self._reading = self._writing = False

    # The socket

    def _watch(self) -> None:
        wanted = self._paused_at is None and self.is_open and self._client.socket() is not None
        if wanted and not self._reading:
            self._loop.add_reader(self._watched, self._on_readable)
        elif self._reading and not wanted:
            self._loop.remove_reader(self._watched)
        self._reading = wanted

    def _on_readable(self) -> None:
        for _ in range(_MESSAGES_PER_TURN):
            if not self._reading:
                break
            before = self._received
            self._client.loop_read()
            if self._received == before:
                break
        self._settle()
        if self._reading and getattr(self._client.socket(), "pending", int)():
            self._loop.call_soon(self._on_readable)

    def _on_writable(self) -> None:
        self._client.loop_write()
        self._settle()

    def _settle(self) -> None:
        """After the client did something: does it want to write more, or has it closed the socket?"""
        if self._client.socket() is None:
            self._end(self._reason)
        elif self._client.want_write() and not self._writing:
            self._loop.add_writer(self._watched, self._on_writable)
            self._writing = True
        elif self._writing and not self._client.want_write():
            self._loop.remove_writer(self._watched)
            self._writing = False

    def _tick(self) -> None:
        if not self.is_open:
            return
        self._loop.call_later(_TICK, self._tick)
        if self._paused_at is None:
            # Sends a ping when it is time, and closes if there was no answer to the last one.
            self._client.loop_misc()
        elif self._loop.time() - self._paused_at > self._broker.keepalive / 3:
            # Pings are not seen either. The broker had better keep the messages, or give them to another bridge.
            self._reason = "nothing could be received for long: too much waits to be stored"
            self._client.disconnect()
        self._settle()

    def _end(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)

    def _abandon(self, reason: str) -> None:
        """Close without a word to the broker."""
        open_socket = self._client.socket()
        if open_socket is not None:
            self._on_socket_close(self._client, None, open_socket)
            open_socket.close()
        self._end(reason)


class _Client(paho.Client):
    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        """As the library's own, which leaves the socket open where the handshake fails."""
        context = self._ssl_context
        if context is None:
            raise ValueError("there is no TLS to speak")
        wrapped = context.wrap_socket(tcp_sock, server_hostname=self.host, do_handshake_on_connect=False)
        try:
            wrapped.settimeout(self.connect_timeout)
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]


def _refusal(detail: str, reason: ReasonCode) -> BrokerRefused | BrokerUnavailable:
    return (BrokerUnavailable if str(reason) in _PASSING else BrokerRefused)(detail)


def _hint(broker: Broker, reason: ReasonCode) -> str:
    if str(reason) == "Unsupported protocol version" and broker.version == "5":
        return "; for a broker without MQTT 5 set OCCUPANCY_MQTT_VERSION=3.1.1"
    return ""
