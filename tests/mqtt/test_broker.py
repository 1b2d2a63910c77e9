"""From settings to a broker, without telling the password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from occupancy.errors import InvalidInput
from occupancy.mqtt import Broker
from occupancy.settings import Settings


def broker_of(**values: Any) -> Broker:
    return Broker.of(Settings(**{"mqtt_url": "mqtt://broker", "mqtt_client_id": "b", **values}))


@pytest.mark.parametrize(
    ("url", "host", "port", "user", "password"),
    [
        ("mqtt://broker", "broker", 1883, None, None),
        ("mqtts://broker/", "broker", 8883, None, None),
        ("mqtt://ana:p%40ss%2F@10.0.0.1:2000", "10.0.0.1", 2000, "ana", "p@ss/"),
        ("mqtt://ana@[::1]:2000", "::1", 2000, "ana", None),
    ],
)
def test_a_url(url: str, host: str, port: int, user: str | None, password: str | None) -> None:
    broker = broker_of(mqtt_url=url)
    assert (broker.host, broker.port, broker.username, broker.password) == (host, port, user, password)
    assert (broker.tls is not None) is url.startswith("mqtts")


def test_the_password_of_its_own_setting_counts() -> None:
    assert broker_of(mqtt_url="mqtt://ana:one@broker", mqtt_password="two").password == "two"


def test_tls_checks_the_certificate_and_the_name() -> None:
    tls = broker_of(mqtt_url="mqtts://broker").tls
    assert tls is not None
    assert tls.check_hostname
    assert tls.verify_mode.name == "CERT_REQUIRED"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"mqtt_url": None}, "OCCUPANCY_MQTT_URL"),
        ({"mqtt_url": "http://ana:secret-one@broker"}, "OCCUPANCY_MQTT_URL"),
        ({"mqtt_url": "mqtt://ana:secret-one@broker:port"}, "OCCUPANCY_MQTT_URL"),
        ({"mqtt_url": "mqtt://ana:secret-one@broker/topic"}, "OCCUPANCY_MQTT_URL"),
        ({"mqtt_url": "mqtt://ana:secret-one@broker?tls=no"}, "OCCUPANCY_MQTT_URL"),
        ({"mqtt_url": "mqtt://ana:secret-one@:1883"}, "OCCUPANCY_MQTT_URL"),
        ({"mqtt_url": "mqtt://:secret-one@broker"}, "OCCUPANCY_MQTT_URL"),
        ({"mqtt_client_id": None}, "OCCUPANCY_MQTT_CLIENT_ID"),
        ({"mqtt_group": "a/b"}, "OCCUPANCY_MQTT_GROUP"),
        ({"mqtt_group": "g", "mqtt_version": "3.1.1"}, "OCCUPANCY_MQTT_GROUP"),
        ({"mqtt_ca_file": Path("ca.pem")}, "OCCUPANCY_MQTT_CA_FILE"),
        ({"mqtt_url": "mqtts://broker", "mqtt_ca_file": Path("/none.pem")}, "OCCUPANCY_MQTT_CA_FILE"),
        (
            {"mqtt_url": "mqtts://broker", "mqtt_certificate_file": Path("/no.pem")},
            "OCCUPANCY_MQTT_CERTIFICATE_FILE",
        ),
        ({"mqtt_url": "mqtts://broker", "mqtt_key_file": Path("/no.pem")}, "OCCUPANCY_MQTT_KEY_FILE"),
    ],
)
def test_what_cannot_be_names_the_setting_and_no_password(values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        broker_of(**values)
    assert caught.value.field == field
    assert "secret-one" not in f"{caught.value} {caught.value.value}"


def test_the_password_is_in_no_text() -> None:
    broker = broker_of(mqtt_url="mqtts://ana:secret-one@broker")
    assert "secret-one" not in f"{broker} {broker!r}"
    assert str(broker) == "mqtts://broker:8883"
