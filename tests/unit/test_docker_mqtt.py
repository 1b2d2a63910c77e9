"""What the compose file for MQTT promises, as far as it can be seen without a container engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from occupancy.kafka import producer
from occupancy.mqtt import Broker, Topic, bridge
from occupancy.settings import Settings

DOCKER = Path(__file__).parents[2] / "docker"
TEXT = (DOCKER / "compose.mqtt.yaml").read_text()
DOCUMENT: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
BASE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())


def mosquitto_options() -> dict[str, str]:
    lines = (DOCKER / "mosquitto/mosquitto.conf").read_text().splitlines()
    return dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))


def test_every_password_comes_from_outside() -> None:
    checked = []
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if "PASSWORD" in variable:
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{name}: {variable}"
                checked.append(variable)
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), f"{name}: {variable}"
    assert sorted(checked) == ["BRIDGE_PASSWORD", "OCCUPANCY_MQTT_PASSWORD", "PGPASSWORD"]


def test_the_settings_of_the_bridge_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {f"OCCUPANCY_{field}".upper() for field in Settings.model_fields}
    for variable, value in SERVICES["mqtt-bridge"]["environment"].items():
        assert variable in fields | {"PGPASSWORD"}
        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        monkeypatch.setenv(variable, "a secret" if text.startswith("${") else text)
    settings = Settings()
    assert settings.ingest == "database"
    broker = Broker.of(settings)
    assert (broker.host, broker.port) == ("mosquitto", 1883)
    assert str(settings.metrics_port) in str(SERVICES["mqtt-bridge"]["healthcheck"]["test"])


def test_mosquitto_lets_the_bridge_read_its_topic_and_each_dpu_write_its_own() -> None:
    acl = (DOCKER / "mosquitto/acl").read_text()
    topic = Topic.parse(Settings.model_fields["mqtt_topic"].default)
    user = SERVICES["mqtt-bridge"]["environment"]["OCCUPANCY_MQTT_URL"].split("/")[2].split("@")[0]
    assert f"user {user}\ntopic read {topic.filter}\n" in acl
    assert "pattern write " + "/".join(topic.levels).replace("{dpu_id}", "%u") in acl


def test_mosquitto_knows_its_users_and_forgets_no_message() -> None:
    options = mosquitto_options()
    assert options["allow_anonymous"] == "false"
    assert options["persistence"] == "true"
    # by default messages beyond a thousand are dropped
    assert options["max_queued_messages"] == "0"
    assert int(options["message_size_limit"]) == Settings.model_fields["max_body_bytes"].default
    volume, target = SERVICES["mosquitto"]["volumes"][1].split(":")
    assert volume in DOCUMENT["volumes"]
    assert options["persistence_location"] == f"{target}/"
    assert options["password_file"] == f"{target}/passwords"
    (command,) = SERVICES["mosquitto-passwords"]["command"]
    assert f"mosquitto_passwd -b {options['password_file']} bridge" in command


def test_the_session_lasts_as_long_at_the_broker_as_the_bridge_asks_for() -> None:
    days = int(mosquitto_options()["persistent_client_expiration"].removesuffix("d"))
    assert days >= Settings.model_fields["mqtt_session_expiry"].default.days


def test_the_configuration_cannot_be_written() -> None:
    for name in ("mosquitto", "mosquitto-passwords"):
        source, target, mode = SERVICES[name]["volumes"][0].split(":")
        assert (DOCKER / source / "mosquitto.conf").is_file()
        assert (target, mode) == ("/mosquitto/config", "ro")


def test_the_broker_is_published_on_loopback_unless_told_otherwise_and_does_not_see_the_database() -> None:
    (port,) = SERVICES["mosquitto"]["ports"]
    assert re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", port) == "127.0.0.1:1883:1883"
    assert SERVICES["mosquitto"]["networks"] == ["default"]
    assert "backend" in BASE["services"]["database"]["networks"]
    assert SERVICES["mosquitto-passwords"]["network_mode"] == "none"
    assert "ports" not in SERVICES["mqtt-bridge"]


def test_who_waits_for_whom() -> None:
    assert SERVICES["mosquitto"]["depends_on"] == {
        "mosquitto-passwords": {"condition": "service_completed_successfully"}
    }
    assert SERVICES["mqtt-bridge"]["depends_on"] == {
        "database": {"condition": "service_healthy"},
        "migrate": {"condition": "service_completed_successfully"},
        "mosquitto": {"condition": "service_started"},
        "kafka-topic": {"condition": "service_completed_successfully", "required": False},
    }
    assert set(SERVICES["mqtt-bridge"]["depends_on"]) <= set(BASE["services"]) | set(SERVICES)


def test_the_bridge_puts_events_where_the_service_does() -> None:
    bridge, service = SERVICES["mqtt-bridge"], BASE["services"]["service"]
    for variable, value in service["environment"].items():
        if variable == "OCCUPANCY_INGEST" or "KAFKA" in variable:
            assert bridge["environment"][variable] == value
    kafka, topic = BASE["services"]["kafka"], BASE["services"]["kafka-topic"]
    assert set(kafka["networks"]) <= set(bridge["networks"])
    host = bridge["environment"]["OCCUPANCY_KAFKA_BOOTSTRAP_SERVERS"].split(":")[0]
    assert BASE["services"][host] is kafka
    assert f"--topic={bridge['environment']['OCCUPANCY_KAFKA_TOPIC']}" in topic["command"]
    # What a profile leaves out must not keep the bridge from starting.
    for name, condition in bridge["depends_on"].items():
        is_optional = "profiles" in (BASE["services"] | SERVICES)[name]
        assert condition.get("required", True) is not is_optional


@pytest.mark.parametrize("name", SERVICES)
def test_none_can_do_much_to_its_machine(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add"} & service.keys()
    assert service["restart"] == ("no" if name == "mosquitto-passwords" else "unless-stopped")


def test_the_bridge_has_the_time_that_it_takes_to_stop() -> None:
    # with Kafka, one after the other
    longest = bridge._GRACE + producer._FLUSH_SECONDS
    assert int(SERVICES["mqtt-bridge"]["stop_grace_period"].removesuffix("s")) > longest
    assert SERVICES["mqtt-bridge"]["image"] == BASE["services"]["service"]["image"]
