"""Whatever is sent to the calls for devices, good by their description or not: never a failure of the service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from occupancy.app import create_app
from occupancy.settings import Settings
from tests.conftest import KEY
from tests.effort import examples

_SCHEMA = schemathesis.openapi.from_dict(
    create_app(Settings(api_key=KEY, refresh="off"), "postgresql://none").openapi()
)
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.text(max_size=3), below, max_size=2),
    max_leaves=4,
)
_NUMBERS = st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**63 - 1, 2**63, -1, 1.0, True])


def _instants(past_hours: int) -> st.SearchStrategy[Any]:
    """An instant some hours ago, mostly; also one that no clock shows."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    good = st.integers(0, past_hours).map(lambda hours: (now - timedelta(hours=hours)).isoformat())
    odd = [
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "1970-01-01T00:00:00Z",
        "2150-01-01T00:00:00Z",
    ]
    return good | good | st.sampled_from(odd) | _JSON


_STATEMENTS = st.fixed_dictionaries(
    {"from": _instants(48), "to": _instants(24), "events": _NUMBERS | st.integers(0, 9) | _JSON}
)
_HEARTBEATS = st.fixed_dictionaries(
    {"dpu_id": st.sampled_from(["d", "e", "nobody", "d\x00"]), "timestamp": _instants(2)},
    optional={"seq": _NUMBERS | _JSON, "sent": st.lists(_STATEMENTS | _JSON, max_size=4) | _JSON},
)
_CALLS = [
    ("POST", "/v1/heartbeats"),
    ("POST", "/v1/dpus/{dpu_id}/heartbeat"),
    ("GET", "/v1/dpus/{dpu_id}/status"),
    ("GET", "/v1/dpu-statuses"),
    ("GET", "/v1/dpus/{dpu_id}/reconciliation"),
]


@given(beats=st.lists(_HEARTBEATS | _JSON, max_size=5))
@settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_odd_heartbeats_are_judged_one_by_one(client: httpx.AsyncClient, beats: list[Any]) -> None:
    for dpu_id in ("d", "e"):
        await client.put(f"/v1/dpus/{dpu_id}", json={})
    answer = await client.post("/v1/heartbeats", json=beats)
    assert answer.status_code == 200, answer.text
    receipt = answer.json()
    indexes = {part["index"] for part in receipt["rejected"]}
    assert receipt["accepted"] + receipt["older"] >= len(beats) - len(indexes)
    assert all(0 <= index < len(beats) for index in indexes)
    for dpu_id in ("d", "e"):
        status = await client.get(f"/v1/dpus/{dpu_id}/status")
        assert status.status_code == 200, status.text
        since = (datetime.now(UTC) - timedelta(days=3)).isoformat()
        hours = await client.get(f"/v1/dpus/{dpu_id}/reconciliation", params={"from": since})
        assert hours.status_code == 200, hours.text


async def _sent(client: httpx.AsyncClient, case: Any) -> httpx.Response:
    if "dpu_id" in case.path_parameters:
        # one that is registered, mostly: others get no further
        case.path_parameters["dpu_id"] = case.path_parameters["dpu_id"][:1].translate({47: "d"}) or "d"
        await client.put(f"/v1/dpus/{case.path_parameters['dpu_id']}", json={})
    sent = case.as_transport_kwargs(base_url="http://test")
    body = {name: sent[name] for name in ("json", "content") if name in sent}
    if "data" in sent:
        body = {"content": sent["data"]}
    headers = {
        name: value
        for name, value in dict(sent.get("headers") or {}).items()
        if name.lower() != "authorization"
    }
    return await client.request(
        sent["method"], sent["url"], params=sent.get("params"), headers=headers, **body
    )


@pytest.mark.parametrize(("method", "path"), _CALLS)
@pytest.mark.parametrize("mode", [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE])
@given(data=st.data())
@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
    ],
)
async def test_no_call_fails(
    client: httpx.AsyncClient, mode: schemathesis.GenerationMode, method: str, path: str, data: st.DataObject
) -> None:
    case = data.draw(_SCHEMA[path][method].as_strategy(generation_mode=mode))
    answer = await _sent(client, case)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"].startswith("urn:occupancy:problem:")
    else:
        case.operation.validate_response(_as_response(answer))


def _as_response(answer: httpx.Response) -> schemathesis.Response:
    return schemathesis.Response.from_httpx(answer, verify=False)
