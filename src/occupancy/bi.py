"""Logins of the database for BI tools: members of `occupancy_bi`, each for the rows of one organization.

Settings of a role are not passed on to its members, so every login gets its own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

import asyncpg

from occupancy.errors import Conflict, Forbidden, InvalidInput, NotFound, UnknownReference

_GROUP: Final = "occupancy_bi"
_SETTINGS: Final = {
    "search_path": "bi",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
    "default_transaction_read_only": "on",
}
_CONNECTIONS: Final = 10
_LONGEST_NAME: Final = 63
_SHORTEST_PASSWORD: Final = 8
_SCRAM_ITERATIONS: Final = 4096
_GRANT: Final = f"GRANT {_GROUP} TO %I"


async def make_login(
    connection: asyncpg.Connection, name: str, organization_id: str, password: str | None = None
) -> None:
    """Make a login that sees one organization in schema `bi`, or give one that is there another organization.

    Args:
        connection: of a role that may create roles.
        name: of the login.
        organization_id: whose rows it sees.
        password: None leaves it as it is: a new login then has none, and needs another way to prove who it is.

    Raises:
        InvalidInput: no role can have that name, or no login should have that password.
        UnknownReference: there is no such organization.
        NotFound: the group is missing: the migration was not allowed to make it.
        Conflict: the name belongs to a role that is not a BI login.
        Forbidden: the connection may not create roles.
    """
    _require_name(name)
    verifier = None if password is None else _scram_verifier(password)
    try:
        async with connection.transaction():
            organization = await _organization(connection, organization_id)
            await _make_role(connection, name)
            if verifier is not None:
                await _run(connection, "ALTER ROLE %I PASSWORD %L", name, verifier)
            for setting, value in _SETTINGS.items():
                await _run(connection, f"ALTER ROLE %I SET {setting} = %L", name, value)
            await connection.execute(
                "INSERT INTO occupancy.bi_login (login, organization) VALUES ($1::text::name, $2) "
                "ON CONFLICT (login) DO UPDATE SET organization = excluded.organization",
                name,
                organization,
            )
    except asyncpg.InsufficientPrivilegeError as error:
        raise Forbidden(f"this connection may not make logins: {error}") from error
    except (asyncpg.ReservedNameError, asyncpg.InvalidNameError) as error:
        raise InvalidInput(str(error), field="name", value=name) from error


async def drop_login(connection: asyncpg.Connection, name: str) -> None:
    """Remove a BI login: its row, and the role.

    Raises:
        NotFound: no BI login of this database has that name.
        Conflict: it owns something, in this database or another.
        Forbidden: the connection may not drop roles.
    """
    try:
        async with connection.transaction():
            removed = await connection.fetchval(
                "DELETE FROM occupancy.bi_login WHERE login = $1::text::name AND login::text = $1 RETURNING true",
                name,
            )
            if not removed:
                raise NotFound(f"there is no BI login {name!r}", field="name", value=name)
            # Somebody may have dropped the role with psql.
            if await _members(connection, name) is not None:
                await _run(connection, "DROP ROLE %I", name)
    except asyncpg.DependentObjectsStillExistError as error:
        raise Conflict(
            f"{name!r} owns or was granted something: {error.detail or error}. Hand it over or drop it "
            "(REASSIGN OWNED, DROP OWNED), then try again",
            field="name",
            value=name,
        ) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise Forbidden(f"this connection may not drop logins: {error}") from error


def _require_name(name: str) -> None:
    if not name or not name.isprintable() or len(name.encode()) > _LONGEST_NAME:
        raise InvalidInput(
            f"a login has 1 to {_LONGEST_NAME} bytes and no control characters", field="name", value=name
        )


async def _organization(connection: asyncpg.Connection, organization_id: str) -> int:
    organization: int | None = await connection.fetchval(
        "SELECT id FROM occupancy.organization WHERE organization_id = $1", organization_id
    )
    if organization is None:
        raise UnknownReference(
            f"there is no organization {organization_id!r}", field="organization", value=organization_id
        )
    return organization


async def _make_role(connection: asyncpg.Connection, name: str) -> None:
    if await _members(connection, _GROUP) is None:
        raise NotFound(
            f"role {_GROUP} is missing: run `occupancy migrate` as a role that may create roles",
            field="role",
            value=_GROUP,
        )
    groups = await _members(connection, name)
    if groups is None:
        await _run(connection, f"CREATE ROLE %I LOGIN CONNECTION LIMIT {_CONNECTIONS}", name)
        await _run(connection, _GRANT, name)
    elif groups != [_GROUP]:
        # Someone else's, perhaps a powerful one: neither its password nor its settings are ours to change.
        raise Conflict(f"{name!r} is a role already, and not a BI login", field="name", value=name)


async def _members(connection: asyncpg.Connection, name: str) -> list[str] | None:
    """The roles that a role is a member of; None if there is no such role."""
    row = await connection.fetchrow(
        """
        SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS powerful,
          ARRAY(
            SELECT pg_get_userbyid(roleid)::text FROM pg_auth_members WHERE member = pg_roles.oid ORDER BY 1
          ) AS groups
        FROM pg_roles WHERE rolname::text = $1
        """,
        name,
    )
    if row is None:
        return None
    groups: list[str] = row["groups"]
    return ["powerful", *groups] if row["powerful"] else groups


async def _run(connection: asyncpg.Connection, statement: str, *values: str) -> None:
    """Run a statement that takes no parameters, with values quoted by the database: %I a name, %L a text."""
    quoted = await connection.fetchval(
        f"SELECT format($1, {', '.join(f'${place}::text' for place in range(2, len(values) + 2))})",
        statement,
        *values,
    )
    await connection.execute(quoted)


def _scram_verifier(password: str) -> str:
    """What PostgreSQL stores of a password: so that the password itself is in no statement, and in no log."""
    # Other characters would have to be normalized as every client does it (SASLprep).
    if len(password) < _SHORTEST_PASSWORD or not password.isascii() or not password.isprintable():
        raise InvalidInput(
            f"a password has {_SHORTEST_PASSWORD} or more printable ASCII characters", field="password"
        )
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored_key, server_key))
    return f"SCRAM-SHA-256${_SCRAM_ITERATIONS}:{salt64}${stored64}:{server64}"
