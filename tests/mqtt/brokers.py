"""Real brokers, each in a process of its own, on a loopback port of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.conftest import ROOT
from tests.mqtt.amqtt_broker import PASSWORD

PATIENCE = 30.0


def free_port() -> int:
    """A loopback port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class RealBroker(ABC):
    """A broker that is started, killed and started again. `version`: of MQTT, to be spoken to it."""

    version = "5"
    keeps_sessions_over_restarts = False
    sensor = "sensor"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The command that runs it in the foreground."""

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self.directory / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while True:
            assert self._process.poll() is None, (self.directory / "broker.log").read_text()
            assert time.monotonic() < deadline, "the broker does not listen"
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """Ask it to end, and wait for that."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE)
            self._process = None

    def publish(self, messages: Sequence[tuple[str, bytes]], qos: int = 1, *, retain: bool = False) -> None:
        """Publish messages in order, as a sensor does; returns when the broker has them all."""
        version = MQTTProtocolVersion.MQTTv5 if self.version == "5" else MQTTProtocolVersion.MQTTv311
        client = paho.Client(CallbackAPIVersion.VERSION2, "", protocol=version)
        client.username_pw_set(self.sensor, PASSWORD)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        try:
            for topic, payload in messages:
                client.publish(topic, payload, qos, retain).wait_for_publish(PATIENCE)
        finally:
            client.disconnect()
            client.loop_stop()


class Amqtt(RealBroker):
    """From PyPI."""

    version = "3.1.1"

    def command(self) -> Sequence[str]:
        """The command that runs it in the foreground."""
        return [sys.executable, "-m", "tests.mqtt.amqtt_broker", str(self.port)]


class Mosquitto(RealBroker):
    """As installed."""

    keeps_sessions_over_restarts = True

    def command(self) -> Sequence[str]:
        """The command that runs it in the foreground."""
        passwords = self.directory / "passwords"
        if not passwords.exists():
            passwords.touch(mode=0o600)
            for name in ("bridge", self.sensor):
                subprocess.run(
                    ["mosquitto_passwd", "-b", str(passwords), name, PASSWORD],
                    check=True,
                    capture_output=True,
                )
        configuration = self.directory / "mosquitto.conf"
        configuration.write_text(self.configuration() + f"user {Path.home().owner()}\n")
        return [mosquitto() or "mosquitto", "-c", str(configuration)]

    def configuration(self) -> str:
        """Run by root it would become another user, who cannot read the files of the test: `command` adds that."""
        return (
            f"listener {self.port} 127.0.0.1\n"
            f"password_file {self.directory}/passwords\n"
            "persistence true\n"
            f"persistence_location {self.directory}/\n"
            "max_queued_messages 0\n"
        )


class MosquittoAsShipped(Mosquitto):
    """With the configuration of the compose file, but for where its files are."""

    sensor = "283"

    def configuration(self) -> str:
        """What docker/mosquitto has."""
        text = (ROOT / "docker/mosquitto/mosquitto.conf").read_text()
        return (
            text.replace("listener 1883", f"listener {self.port} 127.0.0.1")
            .replace("/mosquitto/data/", f"{self.directory}/")
            .replace("/mosquitto/config/", f"{ROOT}/docker/mosquitto/")
        )


def mosquitto() -> str | None:
    """Where Mosquitto is, None if it is not installed."""
    return shutil.which(
        "mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin"
    )
