"""What was sent, kept whole beside the reason why it was rejected."""

from __future__ import annotations

import json
import re
from typing import Any

# Marks a payload that is kept as the text of its JSON.
WRAPPED = "occupancy:json"
_SHOWN = 80


def payload_json(payload: Any) -> str:
    """The payload as JSON that PostgreSQL's jsonb can hold, whatever text was sent; `sent_payload` is the inverse.

    jsonb has no NUL character and no half surrogate pair; such a payload is kept as the text of its JSON. So is one
    that looks as if it were kept so.
    """
    text = json.dumps(payload)
    if "\\u0000" in text or re.search(r"\\ud[89a-f]", text) or _is_wrapped(payload):
        return json.dumps({WRAPPED: text})
    return text


def sent_payload(text: str) -> Any:
    """What was sent, from what `payload_json` made of it."""
    payload = json.loads(text)
    return json.loads(payload[WRAPPED]) if _is_wrapped(payload) else payload


def shown(value: Any) -> str:
    """A value for an error message: as JSON, cut to a readable length."""
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _is_wrapped(payload: Any) -> bool:
    return isinstance(payload, dict) and list(payload) == [WRAPPED]
