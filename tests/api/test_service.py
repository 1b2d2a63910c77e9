"""The service as a whole: the key, health, metrics, problems, and a database that is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
from asgi_lifespan import LifespanManager
from pydantic import ValidationError

from occupancy.app import create_app
from occupancy.errors import DatabaseUnavailable
from occupancy.settings import Settings
from tests.conftest import KEY


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic YTpi", "Bearer ä"])
@pytest.mark.parametrize("path", ["/v1/spaces", "/v1/counts", "/metrics"])
async def test_without_the_key_nothing_is_told(
    client: httpx.AsyncClient, path: str, header: str | None
) -> None:
    headers = [(b"authorization", header.encode())] if header else []
    bare = httpx.AsyncClient(transport=client._transport, base_url="http://test")
    answer = await bare.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["type"] == "urn:occupancy:problem:unauthorized"


async def test_health_needs_no_key(client: httpx.AsyncClient) -> None:
    bare = httpx.AsyncClient(transport=client._transport, base_url="http://test")
    assert (await bare.get("/healthz")).status_code == 200
    assert (await bare.get("/readyz")).status_code == 200


async def test_metrics_count_events_by_outcome(client: httpx.AsyncClient) -> None:
    def value(text: str) -> float:
        lines = [
            line
            for line in text.splitlines()
            if line.startswith('occupancy_events_total{outcome="invalid_seq"}')
        ]
        return float(lines[0].split()[1]) if lines else 0

    before = value((await client.get("/metrics")).text)
    await client.post(
        "/v1/events", json={"dpu_id": "x", "timestamp": "2026-03-02T11:00:00Z", "direction": 1, "seq": -1}
    )
    after = (await client.get("/metrics")).text
    assert value(after) == before + 1
    assert "occupancy_stale_marks 0.0" in after


async def test_metrics_say_how_many_events_are_held(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    assert "occupancy_held_events 0.0" in (await client.get("/metrics")).text
    await connection.execute(
        "INSERT INTO occupancy.held_crossing (organization, dpu_id, time, direction, seq) "
        "SELECT 1, '283', now(), 1, seq FROM generate_series(1, 3) AS seq"
    )
    assert "occupancy_held_events 3.0" in (await client.get("/metrics")).text


async def test_an_unknown_path_and_method_are_problems(client: httpx.AsyncClient) -> None:
    for answer, status in ((await client.get("/v1/nothing"), 404), (await client.patch("/v1/spaces"), 405)):
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


async def _in_chunks() -> AsyncIterator[bytes]:
    """A body that does not say beforehand how long it is."""
    for _ in range(20):
        yield b" " * 100


@pytest.mark.parametrize("path", ["/v1/events", "/v1/spaces/{space}/resets", "/v1/dpus/d/placements"])
async def test_a_body_that_is_too_large_is_refused_whole(
    database_url: str, settings: Settings, path: str
) -> None:
    service = create_app(settings.model_copy(update={"max_body_bytes": 1000}), database_url)
    async with LifespanManager(service) as manager:
        transport = httpx.ASGITransport(app=manager.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as caller:
            body = {"content": b"[" + b" " * 2000 + b"]", "headers": {"Content-Type": "application/json"}}
            assert (await caller.post(path, json=[])).status_code == 401
            caller.headers["Authorization"] = f"Bearer {KEY}"
            for sent in (body, body | {"content": _in_chunks()}):
                answer = await caller.post(path, **sent)
                assert answer.status_code == 413
                assert answer.json()["type"] == "urn:occupancy:problem:too-large"
                assert answer.json()["field"] == "body"


@pytest.mark.parametrize(
    ("url", "headers", "status"),
    [
        ("http://127.0.0.1/v1/spaces", {}, 200),
        ("http://localhost:8000/v1/spaces", {"Origin": "http://localhost:3000"}, 200),
        ("http://[::1]:8000/v1/spaces", {}, 200),
        ("http://rebound.example/v1/spaces", {}, 403),
        ("http://127.0.0.1/v1/spaces", {"Origin": "https://elsewhere.example"}, 403),
        ("http://127.0.0.1/v1/spaces", {"Origin": "null"}, 403),
        ("http://127.0.0.1/v1/spaces", {"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_without_a_key_only_this_machine_is_answered(
    database_url: str, url: str, headers: dict[str, str], status: int
) -> None:
    open_service = create_app(Settings(api_key=None, refresh="off"), database_url)
    async with LifespanManager(open_service) as manager:
        transport = httpx.ASGITransport(app=manager.app)
        async with httpx.AsyncClient(transport=transport) as caller:
            answer = await caller.get(url, headers=headers)
            assert answer.status_code == status
            if status == 403:
                assert answer.json()["type"] == "urn:occupancy:problem:forbidden"


async def test_functions_of_another_version_are_noticed(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    assert (await client.get("/readyz")).status_code == 200
    async with connection.transaction():
        stamp = await connection.fetchval("SELECT obj_description('occupancy.alembic_version'::regclass)")
    await connection.execute("COMMENT ON TABLE occupancy.alembic_version IS 'older'")
    try:
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert "occupancy migrate" in answer.json()["detail"]
    finally:
        await connection.execute(f"COMMENT ON TABLE occupancy.alembic_version IS '{stamp}'")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104
def test_without_a_key_the_service_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(ValidationError, match="OCCUPANCY_API_KEY"):
        Settings(host=host, api_key=None)


async def test_a_database_that_is_not_there_is_said_to_be_so(settings: Settings) -> None:
    service = create_app(settings, "postgresql://postgres@127.0.0.1:9/none")
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        async with LifespanManager(service):
            pass
