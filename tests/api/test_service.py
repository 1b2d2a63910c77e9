"""The service as a whole: the key, health, metrics, problems, and a database that is not there."""

from __future__ import annotations

import httpx
import pytest
from asgi_lifespan import LifespanManager
from pydantic import ValidationError

from occupancy.app import create_app
from occupancy.errors import DatabaseUnavailable
from occupancy.settings import Settings


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


async def test_an_unknown_path_and_method_are_problems(client: httpx.AsyncClient) -> None:
    for answer, status in ((await client.get("/v1/nothing"), 404), (await client.patch("/v1/spaces"), 405)):
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


async def test_without_a_key_only_names_of_this_machine_are_answered(database_url: str) -> None:
    open_service = create_app(Settings(api_key=None, refresh="off"), database_url)
    async with LifespanManager(open_service) as manager:
        transport = httpx.ASGITransport(app=manager.app)
        async with httpx.AsyncClient(transport=transport) as caller:
            assert (await caller.get("http://127.0.0.1/v1/spaces")).status_code == 200
            assert (await caller.get("http://rebound.example/v1/spaces")).status_code == 400


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104
def test_without_a_key_the_service_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(ValidationError, match="OCCUPANCY_API_KEY"):
        Settings(host=host, api_key=None)


async def test_a_database_that_is_not_there_is_said_to_be_so(settings: Settings) -> None:
    service = create_app(settings, "postgresql://postgres@127.0.0.1:9/none")
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        async with LifespanManager(service):
            pass
