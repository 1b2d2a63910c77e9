"""The key that guards the service."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from occupancy.errors import Unauthorized
from occupancy.settings import Settings

_bearer = HTTPBearer(auto_error=False, description="The value of OCCUPANCY_API_KEY.")


def require_key(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    """Raise Unauthorized unless the caller sent the key. Without a key set, the service listens on loopback only."""
    settings: Settings = request.app.state.settings
    if settings.api_key is None:
        return
    given = "" if credentials is None else credentials.credentials
    expected = settings.api_key.get_secret_value()
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise Unauthorized("send the service's key as `Authorization: Bearer <key>`", field="Authorization")
