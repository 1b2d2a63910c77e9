"""Which broker the bridge connects to, and as whom."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from occupancy.errors import InvalidInput
from occupancy.settings import Settings

_URL = "OCCUPANCY_MQTT_URL"
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_LONGEST_EXPIRY = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker and the session there. `keepalive` and `session_expiry` are seconds; `tls` is None for plain TCP."""

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    version: str = "5"
    group: str | None = None
    keepalive: int = 60
    session_expiry: int = 7 * 86_400
    max_inflight: int = 1000

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"

    @classmethod
    def of(cls, settings: Settings) -> Broker:
        """The broker of OCCUPANCY_MQTT_*. Raises InvalidInput for what cannot be; the password is in no message."""
        if settings.mqtt_url is None:
            raise InvalidInput(f"set {_URL}, like mqtts://user@broker.example.org", field=_URL)
        if not settings.mqtt_client_id:
            detail = "set OCCUPANCY_MQTT_CLIENT_ID: by it the broker knows the session again; no two bridges share one"
            raise InvalidInput(detail, field="OCCUPANCY_MQTT_CLIENT_ID")
        url = _split(settings.mqtt_url.get_secret_value())
        password = settings.mqtt_password.get_secret_value() if settings.mqtt_password else None
        if password is None and url.password is not None:
            password = unquote(url.password)
        username = unquote(url.username) if url.username else None
        if password is not None and username is None:
            raise InvalidInput(f"{_URL} names no user for the password", field=_URL)
        return cls(
            host=url.hostname or "",
            port=url.port or _PORTS[url.scheme],
            client_id=settings.mqtt_client_id,
            username=username,
            password=password,
            tls=_tls(settings, url.scheme),
            version=settings.mqtt_version,
            group=_group(settings),
            keepalive=int(settings.mqtt_keepalive.total_seconds()),
            session_expiry=min(int(settings.mqtt_session_expiry.total_seconds()), _LONGEST_EXPIRY),
            max_inflight=settings.mqtt_max_inflight,
        )


def _split(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise InvalidInput(f"{_URL} is no URL: its port or host cannot be read", field=_URL) from error
    if url.scheme not in _PORTS:
        raise InvalidInput(f"{_URL} begins with mqtt:// or mqtts://", field=_URL)
    if not url.hostname or port == 0 or url.path not in ("", "/") or url.query or url.fragment:
        raise InvalidInput(
            f"{_URL} is mqtt://[user[:password]@]host[:port], and nothing after it", field=_URL
        )
    return url


def _group(settings: Settings) -> str | None:
    group = settings.mqtt_group
    if group is None:
        return None
    name = "OCCUPANCY_MQTT_GROUP"
    if not group or any(sign in group for sign in "/+#\0"):
        raise InvalidInput(f"{name} has none of / + #, and is not empty", field=name, value=group)
    if settings.mqtt_version != "5":
        raise InvalidInput(
            f"{name}: shared subscriptions are part of MQTT 5; OCCUPANCY_MQTT_VERSION is {settings.mqtt_version}",
            field=name,
            value=group,
        )
    return group


def _tls(settings: Settings, scheme: str) -> ssl.SSLContext | None:
    files = {
        "OCCUPANCY_MQTT_CA_FILE": settings.mqtt_ca_file,
        "OCCUPANCY_MQTT_CERTIFICATE_FILE": settings.mqtt_certificate_file,
        "OCCUPANCY_MQTT_KEY_FILE": settings.mqtt_key_file,
    }
    if scheme == "mqtt":
        for name, file in files.items():
            if file is not None:
                # Else whoever sets it believes that the connection is encrypted.
                raise InvalidInput(f"{name} is set, but {_URL} begins with mqtt://, not mqtts://", field=name)
        return None
    context = _trusting(settings.mqtt_ca_file)
    if settings.mqtt_certificate_file is not None:
        _load_certificate(context, settings.mqtt_certificate_file, settings.mqtt_key_file)
    elif settings.mqtt_key_file is not None:
        name = "OCCUPANCY_MQTT_KEY_FILE"
        raise InvalidInput(f"{name} is set without OCCUPANCY_MQTT_CERTIFICATE_FILE", field=name)
    return context


def _trusting(file: Path | None) -> ssl.SSLContext:
    name = "OCCUPANCY_MQTT_CA_FILE"
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(
            f"{name} {str(file)!r} cannot be used: {error}", field=name, value=str(file)
        ) from error


def _load_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    name = "OCCUPANCY_MQTT_CERTIFICATE_FILE"
    try:
        # An encrypted key would ask for its password at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        detail = f"{name} {str(certificate)!r} and its key cannot be used: {error}"
        raise InvalidInput(detail, field=name, value=str(certificate)) from error
