"""Whatever is sent to the calls for devices, good by their description or not: never a failure of the service."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from occupancy.app import create_app
from occupancy.settings import Settings
from tests.conftest import KEY

_SCHEMA = schemathesis.openapi.from_dict(
    create_app(Settings(api_key=KEY, refresh="off"), "postgresql://none").openapi()
)
_CALLS = [
    ("POST", "/v1/heartbeats"),
    ("POST", "/v1/dpus/{dpu_id}/heartbeat"),
    ("GET", "/v1/dpus/{dpu_id}/status"),
    ("GET", "/v1/dpu-statuses"),
    ("GET", "/v1/dpus/{dpu_id}/reconciliation"),
]


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
    max_examples=25,
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
