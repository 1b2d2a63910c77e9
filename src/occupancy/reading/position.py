"""How far a database has written, or a replica replayed, as a position in the write-ahead log."""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from datetime import datetime

from occupancy.errors import InvalidInput
from occupancy.reader import Statements

HEADER = "Occupancy-Position"
"""The header that carries a token, both ways."""

# version, system, database, timeline, LSN
_TOKEN = struct.Struct(">BQIIQ")
_VERSION = 1

# The recovery state is asked for once: while a replica is promoted, two answers could differ. A role that may not read
# pg_stat_wal_receiver gets the timeline of the last restart point, which is never a later one.
_STANDING = """
WITH server AS MATERIALIZED (SELECT pg_catalog.pg_is_in_recovery() AS is_standby)
SELECT
  server.is_standby,
  pg_catalog.pg_postmaster_start_time() AS started_at,
  (SELECT control.system_identifier FROM pg_catalog.pg_control_system() AS control) AS system,
  (SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) AS database,
  CASE WHEN server.is_standby THEN greatest(
    (SELECT control.timeline_id FROM pg_catalog.pg_control_checkpoint() AS control),
    (SELECT receiver.received_tli FROM pg_catalog.pg_stat_wal_receiver AS receiver)
  ) ELSE
    ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()), 8))::bit(32)::integer
  END AS timeline,
  CASE
    WHEN server.is_standby THEN pg_catalog.pg_last_wal_replay_lsn()
    -- then a commit is acknowledged before it is flushed
    WHEN pg_catalog.current_setting('synchronous_commit') = 'off' THEN pg_catalog.pg_current_wal_insert_lsn()
    ELSE pg_catalog.pg_current_wal_flush_lsn()
  END AS lsn
FROM server
"""


@dataclass(frozen=True, slots=True)
class History:
    """Which history of writes: of a database (its oid) of a family of servers (system identifier), on a timeline.

    Positions of two histories cannot be compared.
    """

    system: int
    database: int
    timeline: int


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a history, as the number of a byte of its write-ahead log."""

    history: History
    lsn: int

    def token(self) -> str:
        """The position in letters, opaque to callers."""
        history = self.history
        packed = _TOKEN.pack(_VERSION, history.system, history.database, history.timeline, self.lsn)
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def of(cls, token: str) -> Position:
        """The position in a token. Raises InvalidInput for what token() cannot have made."""
        try:
            packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            version, system, database, timeline, lsn = _TOKEN.unpack(packed)
        except (ValueError, binascii.Error, struct.error) as error:
            raise _no_token(token) from error
        position = cls(History(system, database, timeline), lsn)
        if version != _VERSION or position.token() != token:
            raise _no_token(token)
        return position


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a server stands: what it has written or, a standby, replayed; since when it runs (aware)."""

    position: Position
    is_standby: bool
    started_at: datetime


async def standing(connection: Statements) -> Standing | None:
    """Where the server of a connection stands. None: a standby that has not begun to replay.

    A primary: everything that it had acknowledged before the call is at or below the position. A standby: whatever is
    read after the call holds everything up to the position.
    """
    row = await connection.fetchrow(_STANDING)
    if row is None or row["lsn"] is None:
        return None
    # a system identifier is 64 bits without a sign, in a column that has one
    history = History(row["system"] % 2**64, row["database"], row["timeline"])
    return Standing(Position(history, row["lsn"]), row["is_standby"], row["started_at"])


def _no_token(token: str) -> InvalidInput:
    return InvalidInput(
        f"{HEADER} is no position that an answer of this service gave, and not `latest`",
        field=HEADER,
        value=token,
    )
