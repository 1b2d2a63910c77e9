"""Requests with a key of their own: a repetition is answered as the first was, and does nothing else."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import asyncpg
import msgspec

from occupancy.database import Database, Ingested, store
from occupancy.errors import Busy, InvalidInput, OccupancyError
from occupancy.ingest.apart import store_apart
from occupancy.ingest.group import GroupCommit
from occupancy.parse import Parsed, Rejected
from occupancy.settings import Settings

_log = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
_LONGEST_KEY = 255
_HELD_UP = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
# After so many requests, twice as many receipts that are old enough are forgotten: so they never heap up.
_WRITTEN_BETWEEN = 100
_FORGET = """
DELETE FROM occupancy.request_receipt
WHERE (organization, idempotency_key) IN (
  SELECT organization, idempotency_key FROM occupancy.request_receipt
  WHERE received_at < now() - $1::interval
  ORDER BY received_at
  LIMIT $2
  FOR UPDATE SKIP LOCKED
)
"""


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request that was sent under a key; `fingerprint` tells what was sent."""

    organization: int
    key: str
    fingerprint: bytes
    parsed: Parsed


@dataclass(frozen=True, slots=True)
class Answered:
    """What a request was answered, and whether that was before."""

    result: Ingested
    is_repeated: bool


def fingerprint(kind: str, body: bytes) -> bytes:
    """What tells two requests under one key apart: the SHA-256 of the type and the body."""
    return hashlib.sha256(kind.encode() + b"\n" + body).digest()


def idempotency_key(header: str) -> str:
    """The key of the header. Raises InvalidInput for one that is empty, longer than 255 characters or not printable."""
    if not 0 < len(header) <= _LONGEST_KEY or not header.isprintable():
        raise InvalidInput(
            f"{HEADER} must be 1 to {_LONGEST_KEY} printable characters", field=HEADER, value=header
        )
    return header


class Once:
    """Stores the events of each key once, together with the answer, for as long as the answer is kept."""

    def __init__(self, database: Database, settings: Settings) -> None:
        """`database` has a connection to spare."""
        self._database = database
        self._kept_for = settings.keep_receipts
        self._written = 0
        self._requests: GroupCommit[KeyedRequest, Answered] = GroupCommit(
            self._write,
            size=lambda request: len(request.parsed),
            most_per_group=1,
            most_waiting=settings.max_events_waiting,
            most_items=settings.max_requests_waiting,
            longest_wait=settings.max_wait.total_seconds(),
            writers=1,
            blames=lambda _error: False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Write what was taken."""
        await self._requests.close()

    async def put(self, request: KeyedRequest) -> Answered:
        """Store the events unless the key has been used, else repeat the answer.

        Raises InvalidInput where the key was used for something else; else as a Sink does.
        """
        return await self._requests.put(request)

    async def _write(self, group: Sequence[KeyedRequest]) -> Sequence[Answered]:
        (request,) = group
        try:
            async with self._database.connection() as connection, connection.transaction():
                answered = await _store_once(connection, request)
        except _HELD_UP as error:
            raise Busy("the events could not be stored now") from error
        try:
            await self._forget_old()
        except (asyncpg.PostgresError, OccupancyError) as error:
            # The request is stored; the next ones forget more.
            _log.warning("old receipts are not forgotten: %s", error)
        return [answered]

    async def _forget_old(self) -> None:
        self._written += 1
        if self._written % _WRITTEN_BETWEEN == 1:
            async with self._database.connection() as connection:
                await connection.execute(_FORGET, self._kept_for, 2 * _WRITTEN_BETWEEN)


async def _store_once(connection: asyncpg.Connection, request: KeyedRequest) -> Answered:
    # First of all, so that a repetition waits here for the first request, and holds nothing else meanwhile.
    is_new = await connection.fetchval(
        """
        INSERT INTO occupancy.request_receipt (organization, idempotency_key, fingerprint, receipt)
        VALUES ($1, $2, $3, 'null')
        ON CONFLICT DO NOTHING
        RETURNING true
        """,
        request.organization,
        request.key,
        request.fingerprint,
    )
    if not is_new:
        return Answered(await _earlier_result(connection, request), is_repeated=True)

    async def attempt(part: Parsed) -> Ingested:
        async with connection.transaction():
            return await store(connection, request.organization, part)

    result = await store_apart(attempt, request.parsed)
    await connection.execute(
        "UPDATE occupancy.request_receipt SET receipt = $3 WHERE organization = $1 AND idempotency_key = $2",
        request.organization,
        request.key,
        _encoded(result),
    )
    return Answered(result, is_repeated=False)


async def _earlier_result(connection: asyncpg.Connection, request: KeyedRequest) -> Ingested:
    row = await connection.fetchrow(
        "SELECT fingerprint, receipt FROM occupancy.request_receipt WHERE organization = $1 AND idempotency_key = $2",
        request.organization,
        request.key,
    )
    if row is None:
        # forgotten by age between the two statements
        raise Busy("the key was just forgotten: send the request again")
    if row["fingerprint"] != request.fingerprint:
        raise InvalidInput(
            "the key was used for another request: a new request needs a new key",
            field=HEADER,
            value=request.key,
        )
    return msgspec.json.decode(row["receipt"], type=Ingested)


def _encoded(result: Ingested) -> str:
    # The payloads are in rejected_event; nobody is answered with them.
    bare = [Rejected(event.index, event.code, event.detail, None) for event in result.rejected]
    receipt = Ingested(result.accepted, result.duplicates, bare, result.duplicate_indexes)
    return msgspec.json.encode(receipt).decode()
