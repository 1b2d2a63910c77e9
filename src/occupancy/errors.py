"""What can go wrong, in one type: every error names the field and the value it is about.

Raised anywhere below the API; `occupancy.api.problems` turns them into RFC 9457 answers and the CLI into one line.
"""

from __future__ import annotations

from typing import Any, ClassVar

import asyncpg


class OccupancyError(Exception):
    """An error with a stable type and a detail for people; `field` and `value` where it is about one input."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, field: str | None = None, value: Any = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.value = value


class InvalidInput(OccupancyError):
    """A field holds a value that it cannot hold."""

    status = 422
    type = "invalid-input"
    title = "Invalid input"


class NotFound(OccupancyError):
    """The resource that a path names does not exist."""

    status = 404
    type = "not-found"
    title = "Not found"


class UnknownReference(OccupancyError):
    """A field names a space, doorway or DPU that does not exist."""

    status = 422
    type = "unknown-reference"
    title = "Unknown reference"


class Conflict(OccupancyError):
    """The change contradicts what is stored."""

    status = 409
    type = "conflict"
    title = "Conflict"


class TooLarge(OccupancyError):
    """The request holds more than the service takes at once; nothing of it was stored."""

    status = 413
    type = "too-large"
    title = "Request too large"


class TooSlow(OccupancyError):
    """The request did not arrive in time; nothing of it was stored."""

    status = 408
    type = "too-slow"
    title = "Request too slow"


class Unauthorized(OccupancyError):
    """The key is missing or wrong."""

    status = 401
    type = "unauthorized"
    title = "Unauthorized"


class Forbidden(OccupancyError):
    """The request comes from where none may come from."""

    status = 403
    type = "forbidden"
    title = "Forbidden"


class Busy(OccupancyError):
    """The service cannot do it now; the same request may succeed a little later."""

    status = 503
    type = "busy"
    title = "Busy"


class BeingCompressed(Busy):
    """Events belong to a chunk in which nothing can be stored for a while; nothing of the request was stored."""


class Overloaded(OccupancyError):
    """More comes in than can be stored, or than the caller may send; nothing of the request was stored.

    `retry_after`: seconds after which it is worth another try.
    """

    status = 429
    type = "overloaded"
    title = "Too many events"

    def __init__(
        self, detail: str, *, retry_after: float = 1, field: str | None = None, value: Any = None
    ) -> None:
        super().__init__(detail, field=field, value=value)
        self.retry_after = retry_after


class UnsupportedMedia(OccupancyError):
    """The body is of a type, or encoded in a way, that the service does not read."""

    status = 415
    type = "unsupported-media"
    title = "Unsupported media type"


class DatabaseUnavailable(OccupancyError):
    """The database cannot be reached, or does not hold the schema of this version."""

    status = 503
    type = "database-unavailable"
    title = "Database unavailable"


class SchemaMismatch(DatabaseUnavailable):
    """The database is there, and does not hold the schema of this version: waiting does not help."""


class BrokerUnavailable(OccupancyError):
    """Kafka or the MQTT broker cannot be reached, does not answer in time, or refuses what is asked of it for now."""

    status = 503
    type = "broker-unavailable"
    title = "Broker unavailable"


class MessagesLost(OccupancyError):
    """The brokers no longer have messages that were never stored."""

    status = 503
    type = "messages-lost"
    title = "Messages lost"


class ReplicaUnusable(OccupancyError):
    """The replica cannot answer a read now, and the primary may not be asked in its place."""

    status = 503
    type = "replica-unusable"
    title = "Replica unusable"


# Constraints that callers can break: name, in the words of sql/, to the error and the field it is about.
_CONSTRAINTS: dict[str, tuple[type[OccupancyError], str, str]] = {
    "space_is_not_inside_itself": (InvalidInput, "parent_id", "a space cannot be inside itself"),
    "space_is_not_its_own_parent": (InvalidInput, "parent_id", "a space cannot be inside itself"),
    "capacity_is_not_negative": (InvalidInput, "capacity", "a capacity cannot be negative"),
    "doorway_joins_two_different_sides": (InvalidInput, "side_b", "a doorway joins two different sides"),
    "placement_ends_after_it_begins": (InvalidInput, "to", "a placement ends after it begins"),
    "placement_faces_side_a_or_b": (InvalidInput, "facing", "a placement faces side 'a' or 'b'"),
    "dpu_hangs_over_one_doorway_at_a_time": (
        Conflict,
        "from",
        "another placement of this DPU holds in that time: change or delete that one",
    ),
    "space_has_one_reset_at_an_instant": (Conflict, "at", "this space has another reset at that instant"),
    "reset_count_is_not_negative": (InvalidInput, "count", "a count cannot be negative"),
    "space_has_a_parent_of_its_organization": (Conflict, "space_id", "the space still has spaces below it"),
    "side_a_is_a_space_of_the_organization": (Conflict, "space_id", "a doorway still opens into the space"),
    "side_b_is_a_space_of_the_organization": (Conflict, "space_id", "a doorway still opens into the space"),
    "placement_has_a_doorway_of_the_organization": (
        Conflict,
        "doorway_id",
        "the doorway still has placements, now or in the past: their crossings would no longer count",
    ),
}


def translated(error: asyncpg.PostgresError, value: Any = None) -> OccupancyError | None:
    """The error that a broken constraint stands for, or None if it is none that a caller can break.

    `value` is what the caller gave for the field.
    """
    if isinstance(error, asyncpg.InvalidParameterValueError) and error.column_name:
        # what a trigger refuses names the field itself
        return InvalidInput(f"{error.column_name}: {error.message}", field=error.column_name, value=value)
    known = _CONSTRAINTS.get(getattr(error, "constraint_name", None) or "")
    if known is None:
        return None
    kind, field, detail = known
    return kind(detail, field=field, value=value)
