"""sql/ and alembic/ describe one and the same database, and the database holds today's functions."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest

from occupancy import schema
from occupancy.embedded import running
from tests.conftest import ROOT

_CATALOG = {
    "columns": """
        SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity, generation_expression
        FROM information_schema.columns WHERE table_schema = 'occupancy' AND table_name <> 'alembic_version'
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'occupancy'::regnamespace AND conname NOT LIKE 'alembic%'
    """,
    "indexes": """
        SELECT indexname, regexp_replace(indexdef, '_hypertable_\\d+', '_hypertable')
        FROM pg_indexes
        WHERE (schemaname = 'occupancy' AND tablename <> 'alembic_version') OR indexname LIKE 'flow%'
    """,
    "triggers": """
        SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger
        WHERE NOT tgisinternal AND tgrelid::regclass::text LIKE 'occupancy.%'
    """,
    "functions": """
        SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'occupancy'::regnamespace
    """,
    "aggregates": """
        SELECT view_name, materialized_only, view_definition
        FROM timescaledb_information.continuous_aggregates WHERE view_schema = 'occupancy'
    """,
    "chunks": """
        SELECT regexp_replace(hypertable_name, '_hypertable_\\d+', '_hypertable'), column_name, time_interval::text
        FROM timescaledb_information.dimensions
    """,
    "jobs": """
        SELECT proc_name, schedule_interval::text, config::text FROM timescaledb_information.jobs
        WHERE proc_schema = 'occupancy'
    """,
    "comments": """
        SELECT classoid::regclass::text, pg_describe_object(classoid, objoid, objsubid), description
        FROM pg_description
        WHERE pg_describe_object(classoid, objoid, objsubid) LIKE '%occupancy.%'
          AND pg_describe_object(classoid, objoid, objsubid) NOT LIKE '%alembic_version%'
    """,
    "rows": "SELECT 'organization', count(*)::text FROM occupancy.organization",
}


async def _catalog(url: str) -> dict[str, list[tuple[object, ...]]]:
    connection = await asyncpg.connect(url)
    try:
        return {
            name: sorted((tuple(row) for row in await connection.fetch(query)), key=repr)
            for name, query in _CATALOG.items()
        }
    finally:
        await connection.close()


async def _build(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await schema.build(connection)
    finally:
        await connection.close()


def test_a_migrated_database_equals_the_one_that_sql_describes(migrated_url: str, tmp_path: Path) -> None:
    migrated = asyncio.run(_catalog(migrated_url))
    with running(tmp_path, node_directory=ROOT / ".occupancy" / "node") as url:
        asyncio.run(_build(url))
        built = asyncio.run(_catalog(url))
    assert all(migrated.values()), "a query of the catalog found nothing to compare"
    assert migrated == built


async def test_the_database_holds_the_functions_of_the_files(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        "SELECT proname, prosrc, obj_description(oid, 'pg_proc') AS comment FROM pg_proc "
        "WHERE pronamespace = 'occupancy'::regnamespace"
    )
    stored = {row["proname"]: row for row in rows}
    files = {file.stem: file.read_text() for file in (schema.sql_directory() / "functions").glob("*.sql")}
    assert set(stored) == set(files)
    for name, text in files.items():
        assert stored[name]["comment"], f"{name} has no comment"
        if body := re.search(r"AS \$\$(.*)\$\$;", text, re.DOTALL):
            assert stored[name]["prosrc"] == body[1], f"{name} is not what its file says"


async def test_every_function_pins_its_search_path(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        """
        SELECT proname FROM pg_proc
        WHERE pronamespace = 'occupancy'::regnamespace
          -- a procedure that commits may not have one; a body that was parsed at creation needs none
          AND prokind = 'f' AND prosqlbody IS NULL
          AND NOT coalesce(proconfig::text LIKE '%search_path=pg_catalog%', false)
        """
    )
    assert [row["proname"] for row in rows] == []


async def test_migrating_again_restores_a_changed_function(
    connection: asyncpg.Connection, migrated_url: str
) -> None:
    await connection.execute(
        "CREATE OR REPLACE FUNCTION occupancy.writing_lock() RETURNS bigint LANGUAGE sql IMMUTABLE RETURN 0"
    )
    assert await connection.fetchval("SELECT occupancy.writing_lock()") == 0
    await schema.migrate(migrated_url)
    assert await connection.fetchval("SELECT occupancy.writing_lock()") != 0
    assert await schema.current_revision(connection) == schema.head_revision()


async def test_migrating_drops_functions_that_no_file_defines(
    connection: asyncpg.Connection, migrated_url: str
) -> None:
    await connection.execute(
        "CREATE FUNCTION occupancy.forgotten(integer) RETURNS integer LANGUAGE sql RETURN 1"
    )
    await schema.migrate(migrated_url)
    assert await connection.fetchval("SELECT to_regproc('occupancy.forgotten')") is None


async def test_a_revision_reads_nothing_from_sql() -> None:
    revisions = list((schema._shipped("alembic") / "versions").glob("*.py"))
    assert revisions
    for revision in revisions:
        assert "sql_directory" not in revision.read_text(), revision
        assert "/sql" not in revision.read_text(), revision


@pytest.mark.parametrize("file", sorted((ROOT / "sql").rglob("*.sql")), ids=lambda file: file.stem)
def test_every_file_is_used(file: Path) -> None:
    assert file in [*schema.storage_files(), *schema.logic_files()]
