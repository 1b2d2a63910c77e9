"""What an error of the database means for the events that were to be stored."""

from __future__ import annotations

import asyncpg

from occupancy.errors import Busy, DatabaseUnavailable

# By the first two characters of the SQLSTATE: connection, transaction state (the session was ended, the server is
# read-only), rollback (deadlock), resources, object state (lock timeout), intervention, system.
_TRANSIENT = {"08", "25", "40", "53", "55", "57", "58"}
# Features that a chunk has not, cardinality, data, constraint, limits of the server, raised by a function, internal.
_OF_THE_DATA = {"0A", "21", "22", "23", "54", "P0", "XX"}


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed later."""
    if isinstance(error, DatabaseUnavailable | Busy | OSError):
        return True
    if isinstance(error, asyncpg.PostgresError):
        return _class(error) in _TRANSIENT
    # The connection went away between two statements; the driver says the latter where it is asked to roll back on one
    # that the server has just ended.
    return isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError)


def is_of_the_data(error: BaseException) -> bool:
    """Whether the transaction fails because of what is in it."""
    if isinstance(error, asyncpg.PostgresError):
        return _class(error) in _OF_THE_DATA
    # raised by the driver for a value that it cannot send
    return isinstance(error, UnicodeError | OverflowError)


def _class(error: asyncpg.PostgresError) -> str:
    return (error.sqlstate or "")[:2]
