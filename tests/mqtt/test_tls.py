"""Encrypted connections: whom the bridge trusts, and what it shows of itself."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from occupancy.mqtt.errors import BrokerRefused
from occupancy.settings import Settings
from tests.mqtt.conftest import Gated, at, bridging, run, until
from tests.mqtt.scripted import ScriptedBroker
from tests.mqtt.test_bridge import TOPIC, event, seqs

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, and signed by it: server.pem for 127.0.0.1, named.pem for broker.example, client.pem; with keys."""
    directory = tmp_path_factory.mktemp("certificates")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(
        directory,
        "req",
        "-x509",
        *new_key,
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-days",
        "2",
        "-subj",
        "/CN=ca",
    )
    for name, alternative in (
        ("server", "IP:127.0.0.1"),
        ("named", "DNS:broker.example"),
        ("client", "DNS:bridge"),
    ):
        openssl(
            directory,
            "req",
            *new_key,
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
        )
        (directory / f"{name}.ext").write_text(f"subjectAltName={alternative}\n")
        openssl(
            directory,
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext"),
        )
    return directory


def serving(certificates: Path, name: str = "server", *, asks: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates / "ca.pem")
    context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    context.verify_mode = ssl.CERT_REQUIRED if asks else ssl.CERT_NONE
    return context


def over_tls(port: int, **values: object) -> Settings:
    return at(port, "5", mqtt_url=f"mqtts://bridge@127.0.0.1:{port}", **values)


async def test_events_come_over_tls(certificates: Path) -> None:
    sink = Gated()
    async with (
        ScriptedBroker(tls=serving(certificates)) as scripted,
        bridging(over_tls(scripted.port, mqtt_ca_file=certificates / "ca.pem"), sink),
    ):
        await until(lambda: scripted.is_connected)
        # Many at once: what TLS has decrypted already does not show at the socket.
        await scripted.publish_at_once(TOPIC, [event(number) for number in range(150)])
        await until(lambda: len(scripted.acknowledged) == 150)
        await scripted.publish(TOPIC, event(150, note="x" * 100_000))
        await until(lambda: len(scripted.acknowledged) == 151)
    assert seqs(sink) == list(range(151))


async def test_the_bridge_shows_its_certificate_to_who_asks(certificates: Path) -> None:
    own = {
        "mqtt_certificate_file": certificates / "client.pem",
        "mqtt_key_file": certificates / "client.key",
        "mqtt_ca_file": certificates / "ca.pem",
    }
    async with ScriptedBroker(tls=serving(certificates, asks=True)) as scripted:
        async with bridging(over_tls(scripted.port, **own), Gated()):
            await until(lambda: scripted.is_connected)
        scripted.connects.clear()
        async with bridging(over_tls(scripted.port, mqtt_ca_file=certificates / "ca.pem"), Gated()):
            await asyncio.sleep(1)
        assert scripted.connects == []


@pytest.mark.parametrize(("name", "trusted"), [("server", False), ("named", True)])
async def test_a_broker_that_may_be_another_gets_no_password(
    certificates: Path, name: str, trusted: bool
) -> None:
    async with ScriptedBroker(tls=serving(certificates, name)) as scripted:
        settings = over_tls(scripted.port, mqtt_ca_file=certificates / "ca.pem" if trusted else None)
        with pytest.raises(BrokerRefused, match="certificate that is not trusted"):
            await run(settings)
        assert scripted.connects == []
