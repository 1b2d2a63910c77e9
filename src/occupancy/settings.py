"""Every setting of the service, read from environment variables that begin with `OCCUPANCY_`."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import AwareDatetime, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from occupancy.parse.judge import Clock


class Settings(BaseSettings):
    """What can be set. A field `name` is `OCCUPANCY_NAME`; durations are `HH:MM:SS` or ISO 8601 (`PT2M`)."""

    model_config = SettingsConfigDict(env_prefix="OCCUPANCY_", extra="ignore")

    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL URL of a TimescaleDB. Without one, the embedded database that runs in "
        "embedded_directory is used.",
    )
    embedded_directory: Path = Field(
        default=Path(".occupancy"), description="Where the embedded database keeps its data and its log."
    )
    embedded_port: int = Field(
        default=0, ge=0, le=65535, description="Loopback port of the embedded database; 0: any free one."
    )
    database_connections: int = Field(
        default=8, ge=1, description="Connections for counts and history, per process."
    )
    read_database_url: SecretStr | None = Field(
        default=None,
        min_length=1,
        description="PostgreSQL URL of a streaming replica of database_url, which reads are answered by. Several hosts "
        "in it: the first one that takes a connection.",
    )
    read_connections: int = Field(default=8, ge=1, description="Connections to the replica, per process.")
    read_wait: timedelta = Field(
        default=timedelta(milliseconds=200),
        ge=timedelta(0),
        description="How long a read with Occupancy-Position waits for the replica to get there.",
    )
    read_max_lag: timedelta = Field(
        default=timedelta(seconds=30),
        gt=timedelta(0),
        description="A replica that is further behind answers nothing.",
    )
    read_fallback: Literal["primary", "none"] = Field(
        default="primary",
        description="Who answers what the replica cannot; none: nobody (503), so that its readers do not all turn to "
        "the primary.",
    )

    host: str = Field(default="127.0.0.1", description="Address to listen on; loopback only without api_key.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on.")
    keep_alive: timedelta = Field(
        default=timedelta(seconds=20),
        ge=timedelta(seconds=1),
        description="How long a connection without requests stays open.",
    )
    api_key: SecretStr | None = Field(
        default=None, min_length=16, description="The key callers send as `Authorization: Bearer <key>`."
    )

    max_events_per_request: int = Field(
        default=10_000, ge=1, description="More events are refused whole (413)."
    )
    max_body_bytes: int = Field(
        default=8 * 2**20, ge=1, description="A larger request body is refused whole (413)."
    )
    max_events_per_second: float | None = Field(
        default=None,
        gt=0,
        description="Events that one key may send, per process; more are refused (429). none: no limit.",
    )
    max_events_per_transaction: int = Field(
        default=5_000, ge=1, description="Requests are written together up to this many events."
    )
    max_events_waiting: int = Field(
        default=50_000,
        ge=1,
        description="Events that wait for the database; with more, requests are refused (429).",
    )
    max_requests_waiting: int = Field(
        default=2_000, ge=1, description="Requests that wait for the database; more are refused (429)."
    )
    max_wait: timedelta = Field(
        default=timedelta(seconds=3),
        gt=timedelta(0),
        description="While a request has waited for the database for so long, further ones are refused (429).",
    )
    max_bytes_waiting: int = Field(
        default=64 * 2**20,
        ge=1,
        description="Bytes of request bodies held at the same time; with more, requests are refused (429).",
    )
    keep_receipts: timedelta = Field(
        default=timedelta(days=1),
        gt=timedelta(0),
        description="How long a request with an Idempotency-Key is answered as the first time.",
    )
    ingest_writers: int = Field(
        default=2,
        ge=1,
        description="Connections that write new events; one more writes events older than a day.",
    )
    max_clock_skew: timedelta = Field(
        default=timedelta(minutes=5),
        ge=timedelta(0),
        description="An event further in the future is kept aside as future_time: its DPU's clock is wrong.",
    )
    earliest_event: AwareDatetime = Field(
        default=datetime(2015, 1, 1, tzinfo=UTC),
        description="An event before this instant is kept aside as past_time: its DPU's clock was reset.",
    )

    mqtt_url: SecretStr | None = Field(
        default=None,
        description="Broker of `occupancy mqtt-bridge`: mqtt://[user[:password]@]host[:port], with TLS mqtts://.",
    )
    mqtt_password: SecretStr | None = Field(
        default=None, description="The password there, if it is not in the URL."
    )
    mqtt_client_id: str | None = Field(
        default=None, description="The name of the bridge's session at the broker; no two bridges share one."
    )
    mqtt_topic: str = Field(
        default="dpus/{dpu_id}/events",
        description="Topic filter; a level {dpu_id} is the dpu_id of events that have none.",
    )
    mqtt_group: str | None = Field(
        default=None, description="Several bridges with one group share the messages (MQTT 5)."
    )
    mqtt_version: Literal["5", "3.1.1"] = Field(default="5", description="Version of MQTT to speak.")
    mqtt_session_expiry: timedelta = Field(
        default=timedelta(days=7),
        ge=timedelta(minutes=1),
        description="How long the broker keeps messages for a bridge that is away (MQTT 5).",
    )
    mqtt_keepalive: timedelta = Field(
        default=timedelta(minutes=1),
        ge=timedelta(seconds=5),
        le=timedelta(seconds=65_535),
        description="After so long without a word the bridge asks whether the broker is there.",
    )
    mqtt_max_inflight: int = Field(
        default=1000, ge=1, le=65_535, description="Most messages received and not acknowledged."
    )
    mqtt_ca_file: Path | None = Field(
        default=None, description="Certificates that the broker's is checked with; none: those of the system."
    )
    mqtt_certificate_file: Path | None = Field(
        default=None, description="The bridge's own certificate, where the broker asks for one."
    )
    mqtt_key_file: Path | None = Field(
        default=None, description="Its private key, if not in the same file; not encrypted."
    )
    max_heartbeats_per_request: int = Field(
        default=1_000, ge=1, description="More heartbeats are refused whole (413)."
    )
    sent_report_age: timedelta = Field(
        default=timedelta(days=92),
        gt=timedelta(0),
        description="What a DPU says it sent in a range that ended longer ago is rejected as past_time.",
    )

    refresh: Literal["auto", "off"] = Field(
        default="auto",
        description="auto: the service refreshes aggregates when no TimescaleDB job has done so for two "
        "refresh_intervals; off: never.",
    )
    refresh_interval: timedelta = Field(
        default=timedelta(seconds=10), gt=timedelta(0), description="How often the service looks for work."
    )
    refresh_lag: timedelta = Field(
        default=timedelta(minutes=2),
        ge=timedelta(0),
        description="How long after its end a bucket is materialized: an event delayed by less is not late.",
    )
    refresh_step: timedelta = Field(
        default=timedelta(days=1),
        ge=timedelta(minutes=15),
        description="Most time materialized in one transaction, while catching up.",
    )
    repair_budget: timedelta = Field(
        default=timedelta(days=30),
        ge=timedelta(minutes=15),
        description="Most time, summed over spaces, repaired in one transaction.",
    )

    storage: Literal["auto", "off"] = Field(
        default="auto",
        description="auto: the service compresses and drops old data, as the database's policy says, when no "
        "TimescaleDB job has done so for two storage_intervals; off: never.",
    )
    storage_interval: timedelta = Field(
        default=timedelta(hours=1), gt=timedelta(0), description="How often the service looks for old data."
    )
    ingest: Literal["database", "kafka"] = Field(
        default="database",
        description="Where POST /v1/events puts events before it answers: into the database, or into kafka_topic.",
    )
    kafka_bootstrap_servers: str | None = Field(
        default=None, min_length=1, description="HOST:PORT of one or more brokers, separated by commas."
    )
    kafka_topic: str = Field(
        default="occupancy.events", min_length=1, description="The topic that events are in."
    )
    kafka_group: str = Field(
        default="occupancy",
        min_length=1,
        description="Consumer group: workers of one group share the partitions, and the offsets in the database.",
    )
    kafka_dead_letter_topic: str | None = Field(
        default=None, min_length=1, description="Gets a copy of each message that is kept in rejected_event."
    )
    kafka_start: Literal["beginning", "end"] = Field(
        default="beginning", description="Where a partition begins that the group has never read."
    )
    kafka_batch_size: int = Field(
        default=5_000, ge=1, le=100_000, description="Most messages stored in one transaction."
    )
    kafka_batch_wait: timedelta = Field(
        default=timedelta(milliseconds=200),
        gt=timedelta(0),
        le=timedelta(minutes=1),
        description="How long messages are waited for before a batch that is not full is stored.",
    )
    kafka_max_message_bytes: int = Field(
        default=64 * 1024,
        ge=1,
        description="A larger message is kept aside, cut, as message_too_large.",
    )
    kafka_send_timeout: timedelta = Field(
        default=timedelta(seconds=10),
        gt=timedelta(0),
        description="After this, events that the brokers have not acknowledged are answered with 503.",
    )
    kafka_queue_size: int = Field(
        default=100_000,
        ge=1,
        le=10_000_000,
        description="Most events that wait for the brokers in one process; more are answered with 429.",
    )
    kafka_properties: SecretStr | None = Field(
        default=None,
        description="Further properties of librdkafka as a JSON object; never logged.",
    )
    kafka_properties_file: Path | None = Field(
        default=None, description="A file with such a JSON object; kafka_properties wins over it."
    )
    metrics_host: str = Field(default="127.0.0.1", description="Address of a worker's /metrics and /healthz.")
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port of a worker's /metrics and /healthz; none: not served.",
    )

    def clock(self) -> Clock:
        """Which timestamps can be true now."""
        return Clock(datetime.now(UTC), self.max_clock_skew, self.earliest_event)

    @model_validator(mode="after")
    def _guard_the_network(self) -> Self:
        if self.api_key is None and not _is_loopback(self.host):
            message = f"OCCUPANCY_HOST {self.host!r} is not a loopback address: set OCCUPANCY_API_KEY first"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _keep_dead_letters_apart(self) -> Self:
        # Each copy would be taken, rejected for its header, and copied again.
        if self.kafka_dead_letter_topic == self.kafka_topic:
            raise ValueError(
                "OCCUPANCY_KAFKA_DEAD_LETTER_TOPIC must be another topic than OCCUPANCY_KAFKA_TOPIC"
            )
        return self


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
