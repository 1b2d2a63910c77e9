"""Errors as RFC 9457 problem details, with a stable `type`, the field and the value."""

from __future__ import annotations

import logging
import math
from typing import Any

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from occupancy.errors import DatabaseUnavailable, OccupancyError, Overloaded, Unauthorized
from occupancy.ingest.metrics import REQUESTS_REFUSED
from occupancy.parse import shown

_LONGEST_VALUE = 200

_log = logging.getLogger(__name__)


def problem(status: int, kind: str, title: str, detail: str, **more: Any) -> JSONResponse:
    """An application/problem+json answer; `more` are further members, None is left out."""
    body = {"type": f"urn:occupancy:problem:{kind}", "title": title, "status": status, "detail": detail}
    body |= {name: value for name, value in more.items() if value is not None}
    return JSONResponse(body, status, media_type="application/problem+json")


def _readable(value: Any) -> Any:
    """A value as the caller gave it, or the beginning of it where it is long."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if not isinstance(value, str):
        return shown(value)
    # half a surrogate pair cannot be sent back
    return value[:_LONGEST_VALUE].encode(errors="replace").decode()


def install(app: FastAPI) -> None:
    """Have every error of the application answered as a problem."""
    app.add_exception_handler(OccupancyError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(asyncpg.PostgresError, unexpected)
    app.add_exception_handler(Exception, unexpected)


def answer(error: OccupancyError) -> JSONResponse:
    """The problem that an error is."""
    response = problem(
        error.status, error.type, error.title, error.detail, field=error.field, value=_readable(error.value)
    )
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, Overloaded):
        REQUESTS_REFUSED.inc()
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
    elif error.status == 503:
        response.headers["Retry-After"] = "5"
    return response


async def _known(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OccupancyError)  # noqa: S101
    return answer(error)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    faults = [_fault(fault) for fault in error.errors()]
    first = faults[0]
    return problem(
        422,
        "invalid-input",
        "Invalid input",
        f"{first['field']}: {first['detail']}",
        field=first["field"],
        value=first["value"],
        errors=faults if len(faults) > 1 else None,
    )


def _fault(fault: dict[str, Any]) -> dict[str, Any]:
    # The first part says where the field is (body, query, path): the caller knows its name.
    parts = [str(part) for part in fault["loc"][1:]] or [str(fault["loc"][0])]
    if fault["type"] == "json_invalid":
        return {
            "field": "body",
            "detail": f"not JSON: {fault.get('ctx', {}).get('error', '')}",
            "value": None,
        }
    given = None if fault["type"] == "missing" else _readable(fault.get("input"))
    return {"field": ".".join(parts), "detail": fault["msg"], "value": given}


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    kinds = {404: "not-found", 405: "method-not-allowed"}
    response = problem(
        error.status_code,
        kinds.get(error.status_code, "http-error"),
        str(error.detail),
        str(error.detail),
    )
    response.headers.update(error.headers or {})
    return response


async def _database(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DBAPIError)  # noqa: S101
    if error.connection_invalidated or isinstance(error.__cause__, OSError):
        return await _known(request, DatabaseUnavailable("the database cannot be reached"))
    return await unexpected(request, error)


async def unexpected(request: Request, error: Exception) -> JSONResponse:
    """The problem that an error is which nobody expected."""
    # What went wrong is for the log: it may quote data or SQL.
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "internal-error", "Internal error", "the service failed to answer; see its log")
