"""Reads with a read database that is the primary itself: headers, tokens, and who may be asked."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest
from asgi_lifespan import LifespanManager
from starlette.types import Receive, Scope, Send

from occupancy.api.freshness import Freshness
from occupancy.app import create_app
from occupancy.errors import DatabaseUnavailable
from occupancy.reading.position import History, Position
from occupancy.settings import Settings
from tests.api.house import AUTUMN, SPRING, build, live_through_two_days
from tests.conftest import KEY

COUNT = "/v1/spaces/house/count"
RANGE = {"start": f"{SPRING}T00:00:00Z", "end": f"{AUTUMN}T12:00:00Z"}
READS: tuple[tuple[str, dict[str, str]], ...] = (
    (COUNT, {}),
    ("/v1/counts", {}),
    ("/v1/spaces/house/series", RANGE | {"interval": "1d"}),
    ("/v1/series", RANGE | {"interval": "1mo"}),
    ("/v1/spaces/house/events", RANGE),
    ("/v1/dpus/283/events", RANGE),
    ("/v1/spaces/house/profile", RANGE),
    ("/v1/top", RANGE),
    ("/v1/spaces/house/entries-by-doorway", RANGE),
)
FILES = (
    ("/v1/spaces/house/series", RANGE | {"interval": "1d", "format": "csv"}),
    ("/v1/spaces/house/events", RANGE | {"format": "ndjson"}),
    ("/v1/dpus/283/events", RANGE | {"format": "parquet"}),
)
EVENT = {"dpu_id": "283", "timestamp": f"{AUTUMN}T01:00:00Z", "direction": 1, "seq": 99}


@pytest.fixture
async def reader(database_url: str, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of a service that reads on a connection of its own to the same database, with the house built."""
    given = settings.model_dump() | {"read_database_url": database_url, "read_connections": 2}
    service = create_app(Settings(**given), database_url)
    async with LifespanManager(service) as manager:
        transport = httpx.ASGITransport(app=manager.app)
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as opened:
            await build(opened)
            await live_through_two_days(opened)
            yield opened


def as_of(answer: httpx.Response) -> datetime:
    text = answer.headers["Occupancy-As-Of"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(("path", "params"), [*READS, *FILES])
async def test_every_read_says_how_fresh_it_is(
    reader: httpx.AsyncClient, path: str, params: dict[str, str]
) -> None:
    answer = await reader.get(path, params=params)
    now = datetime.now(UTC)

    assert answer.status_code == 200, answer.text
    assert answer.headers["Occupancy-Source"] == "replica"
    lag = timedelta(seconds=float(answer.headers["Occupancy-Lag"]))
    assert timedelta(0) <= lag < timedelta(seconds=5)
    assert now - timedelta(seconds=6) < as_of(answer) <= now
    assert "Occupancy-Position" not in answer.headers


@pytest.mark.parametrize(("path", "params"), READS)
async def test_both_ways_of_reading_give_the_same_answer(
    reader: httpx.AsyncClient, client: httpx.AsyncClient, path: str, params: dict[str, str]
) -> None:
    at = {"at": f"{AUTUMN}T12:00:00Z"} if "count" in path else {}
    through_replica = await reader.get(path, params=params | at)
    directly = await client.get(path, params=params | at)

    assert through_replica.json() == directly.json()
    assert "Occupancy-As-Of" not in directly.headers


async def test_that_there_is_no_such_space_is_as_fresh_as_any_answer(reader: httpx.AsyncClient) -> None:
    answer = await reader.get("/v1/spaces/nowhere/count")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert as_of(answer) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/events", EVENT),
        ("PUT", "/v1/spaces/house", {"capacity": 11}),
        ("PUT", "/v1/doorways/X", {"side_a": "A", "side_b": None}),
        ("PUT", "/v1/dpus/new", {}),
        ("POST", "/v1/spaces/house/resets", {}),
        ("DELETE", "/v1/doorways/none", None),
    ],
)
async def test_a_write_gives_a_token_if_it_was_done(
    reader: httpx.AsyncClient, client: httpx.AsyncClient, method: str, path: str, body: object
) -> None:
    answer = await reader.request(method, path, json=body)
    if answer.is_success:
        Position.of(answer.headers["Occupancy-Position"])
    else:
        assert answer.status_code == 404
        assert "Occupancy-Position" not in answer.headers
    without_replica = await client.request(method, path, json=body)
    assert "Occupancy-Position" not in without_replica.headers


class _Giver:
    """A read database that has a token for whoever asks."""

    async def token(self) -> str:
        return "token"


@pytest.mark.parametrize(
    ("method", "status", "token"),
    [("POST", 200, "token"), ("PUT", 201, "token"), ("DELETE", 204, "token"),
     ("POST", 202, None), ("POST", 409, None), ("POST", 503, None), ("GET", 200, None)],
)  # fmt: skip
async def test_what_is_queued_or_refused_has_no_token(method: str, status: int, token: str | None) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = SimpleNamespace(state=SimpleNamespace(reads=_Giver()))
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport = httpx.ASGITransport(app=Freshness(application))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as caller:
        answer = await caller.request(method, "/v1/events")
    assert answer.headers.get("Occupancy-Position") == token


async def test_tokens_grow_with_what_is_written(reader: httpx.AsyncClient) -> None:
    tokens = []
    for seq in range(100, 105):
        answer = await reader.post("/v1/events", json=EVENT | {"seq": seq})
        tokens.append(Position.of(answer.headers["Occupancy-Position"]))
    assert [token.lsn for token in tokens] == sorted({token.lsn for token in tokens})
    assert len({token.history for token in tokens}) == 1


async def test_a_read_with_a_token_includes_the_write(reader: httpx.AsyncClient) -> None:
    entries = (await reader.get(COUNT)).json()["entries"]
    for seq in range(200, 210):
        written = await reader.post("/v1/events", json=EVENT | {"seq": seq})
        answer = await reader.get(
            COUNT, headers={"Occupancy-Position": written.headers["Occupancy-Position"]}
        )
        entries += 1
        assert answer.json()["entries"] == entries
        assert answer.headers["Occupancy-Source"] == "replica"


async def test_latest_and_several_tokens_are_understood(reader: httpx.AsyncClient) -> None:
    one = (await reader.post("/v1/events", json=EVENT | {"seq": 300})).headers["Occupancy-Position"]
    two = (await reader.post("/v1/events", json=EVENT | {"seq": 301})).headers["Occupancy-Position"]
    for wanted in ("latest", f"{two}, {one}", f"{one},latest"):
        answer = await reader.get(COUNT, headers={"Occupancy-Position": wanted})
        assert answer.status_code == 200
        assert answer.headers["Occupancy-Source"] == "replica"
    twice = [("Occupancy-Position", one), ("Occupancy-Position", two)]
    assert (await reader.get(COUNT, headers=twice)).status_code == 200


async def test_a_position_that_is_not_reached_in_time_is_read_on_the_primary(
    reader: httpx.AsyncClient,
) -> None:
    token = Position.of((await reader.post("/v1/events", json=EVENT)).headers["Occupancy-Position"])
    far = Position(token.history, token.lsn + 2**40).token()
    answer = await reader.get(COUNT, headers={"Occupancy-Position": far})
    assert answer.status_code == 200
    assert answer.headers["Occupancy-Source"] == "primary"


@pytest.mark.parametrize(
    "foreign", [History(1, 2, 3), History(2**64 - 1, 2**32 - 1, 2**32 - 1)], ids=["small", "large"]
)
async def test_a_token_of_another_database_asks_for_all_that_is_acknowledged(
    reader: httpx.AsyncClient, foreign: History
) -> None:
    token = Position(foreign, 2**64 - 1).token()
    answer = await reader.get(COUNT, headers={"Occupancy-Position": token})
    assert answer.status_code == 200
    assert as_of(answer) <= datetime.now(UTC)


@pytest.mark.parametrize("token", ["x", "AAAA", "newest", "A" * 34, "ä", "A" * 3000])
async def test_what_is_no_token_is_refused(
    reader: httpx.AsyncClient, client: httpx.AsyncClient, token: str
) -> None:
    for caller in (reader, client):
        answer = await caller.get(COUNT, headers=[(b"Occupancy-Position", token.encode())])
        assert answer.status_code == 422, answer.text
        problem = answer.json()
        assert problem["type"] == "urn:occupancy:problem:invalid-input"
        assert problem["field"] == "Occupancy-Position"
        assert problem["value"]


async def test_topology_is_read_where_it_was_written(reader: httpx.AsyncClient) -> None:
    for capacity in range(20, 25):
        await reader.put("/v1/spaces/house", json={"capacity": capacity})
        answer = await reader.get("/v1/spaces/house")
        assert answer.json()["capacity"] == capacity
        assert "Occupancy-As-Of" not in answer.headers


async def test_readiness_and_metrics_say_where_reads_go(reader: httpx.AsyncClient) -> None:
    ready = (await reader.get("/readyz")).json()
    assert ready == {"status": "ok", "reads": "replica"}

    def reads(text: str) -> float:
        (line,) = (
            line for line in text.splitlines() if line.startswith('occupancy_reads_total{source="replica"}')
        )
        return float(line.split()[1])

    await reader.get(COUNT)
    before = reads((await reader.get("/metrics")).text)
    await reader.get(COUNT)
    text = (await reader.get("/metrics")).text
    assert reads(text) == before + 1
    assert "occupancy_replica_usable 1.0" in text
    (lag,) = (line for line in text.splitlines() if line.startswith("occupancy_replica_lag_seconds "))
    assert 0 <= float(lag.split()[1]) < 5


async def test_without_a_read_database_there_is_nothing_to_say(client: httpx.AsyncClient) -> None:
    assert (await client.get("/readyz")).json() == {"status": "ok"}


def unreachable(settings: Settings, **more: object) -> Settings:
    nobody = {"read_database_url": "postgresql://postgres@127.0.0.1:9/none"}
    return Settings(**(settings.model_dump() | nobody | more))


async def test_where_the_replica_is_away_the_primary_answers(database_url: str, settings: Settings) -> None:
    service = create_app(unreachable(settings), database_url)
    async with LifespanManager(service) as manager:
        transport = httpx.ASGITransport(app=manager.app)
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as caller:
            await build(caller)
            written = await caller.post("/v1/events", json=EVENT)
            for more in ({}, {"Occupancy-Position": written.headers["Occupancy-Position"]}):
                before = datetime.now(UTC)
                answer = await caller.get(COUNT, headers=more)
                assert answer.json()["entries"] == 1
                assert answer.headers["Occupancy-Source"] == "primary"
                assert before <= as_of(answer) <= datetime.now(UTC)
            ready = await caller.get("/readyz")
            assert ready.status_code == 200
            assert ready.json()["reads"] == "primary"
            assert "cannot be reached" in ready.json()["detail"]
            text = (await caller.get("/metrics")).text
            assert "occupancy_replica_usable 0.0" in text
            assert "occupancy_replica_lag_seconds +Inf" in text
            assert 'occupancy_read_fallbacks_total{reason="unreachable"}' in text


async def test_where_the_primary_may_not_be_asked_reads_are_refused_and_writes_are_not(
    database_url: str, settings: Settings
) -> None:
    service = create_app(unreachable(settings, read_fallback="none"), database_url)
    async with LifespanManager(service) as manager:
        transport = httpx.ASGITransport(app=manager.app)
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as caller:
            await build(caller)
            assert (await caller.post("/v1/events", json=EVENT)).status_code == 200
            for path, params in (*READS, *FILES):
                answer = await caller.get(path, params=params)
                assert answer.status_code == 503, (path, answer.text)
                assert answer.json()["type"] == "urn:occupancy:problem:replica-unusable"
                assert answer.headers["Retry-After"]
            assert (await caller.get("/v1/spaces/house")).status_code == 200
            assert (await caller.get("/readyz")).status_code == 503
            assert "occupancy_reads_refused_total" in (await caller.get("/metrics")).text


async def test_a_read_database_that_is_no_url_is_named_when_the_service_starts(
    database_url: str, settings: Settings
) -> None:
    wrong = Settings(**(settings.model_dump() | {"read_database_url": "replica.example"}))
    with pytest.raises(DatabaseUnavailable, match="OCCUPANCY_READ_DATABASE_URL"):
        async with LifespanManager(create_app(wrong, database_url)):
            pass
