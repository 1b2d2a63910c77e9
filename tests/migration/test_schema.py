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
        FROM information_schema.columns WHERE table_schema IN ('occupancy', 'bi') AND table_name <> 'alembic_version'
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
        SELECT oid::regprocedure::text, pg_get_functiondef(oid) FROM pg_proc
        WHERE pronamespace IN ('occupancy'::regnamespace, 'bi'::regnamespace)
    """,
    "views": """
        SELECT oid::regclass::text, reloptions::text, pg_get_viewdef(oid) FROM pg_class
        WHERE relnamespace = 'bi'::regnamespace
    """,
    "privileges": """
        SELECT oid::regclass::text, relacl::text FROM pg_class
        WHERE relnamespace IN ('occupancy'::regnamespace, 'bi'::regnamespace)
          AND relname NOT LIKE 'alembic%'
        UNION ALL
        SELECT oid::regprocedure::text, proacl::text FROM pg_proc
        WHERE pronamespace IN ('occupancy'::regnamespace, 'bi'::regnamespace)
        UNION ALL
        SELECT nspname, nspacl::text FROM pg_namespace WHERE nspname IN ('occupancy', 'bi')
        UNION ALL
        SELECT 'database', datacl::text FROM pg_database WHERE datname = current_database()
        UNION ALL
        SELECT rolname, concat(rolcanlogin, rolsuper, rolinherit, shobj_description(oid, 'pg_authid')) FROM pg_roles
        WHERE rolname = 'occupancy_bi'
    """,
    "aggregates": """
        SELECT view_name, materialized_only, view_definition
        FROM timescaledb_information.continuous_aggregates WHERE view_schema = 'occupancy'
    """,
    "chunks": """
        SELECT regexp_replace(hypertable_name, '_hypertable_\\d+', '_hypertable'), column_name, time_interval::text
        FROM timescaledb_information.dimensions
    """,
    "columnstore": """
        SELECT regexp_replace(hypertable::text, '_hypertable_\\d+', '_hypertable'), segmentby, orderby, index::text
        FROM timescaledb_information.hypertable_columnstore_settings
    """,
    "jobs": """
        SELECT proc_name, schedule_interval::text, config::text FROM timescaledb_information.jobs
        WHERE proc_schema = 'occupancy'
    """,
    "comments": """
        SELECT classoid::regclass::text, pg_describe_object(classoid, objoid, objsubid), description
        FROM pg_description
        WHERE pg_describe_object(classoid, objoid, objsubid) ~ '(occupancy|bi)\\.|schema (occupancy|bi)'
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


@pytest.mark.parametrize(("namespace", "folder"), [("occupancy", "functions"), ("bi", "functions/bi")])
async def test_the_database_holds_the_functions_of_the_files(
    connection: asyncpg.Connection, namespace: str, folder: str
) -> None:
    rows = await connection.fetch(
        "SELECT proname, prosrc, obj_description(oid, 'pg_proc') AS comment FROM pg_proc "
        "WHERE pronamespace = $1::text::regnamespace",
        namespace,
    )
    stored = {row["proname"]: row for row in rows}
    files = {file.stem: file.read_text() for file in (schema.sql_directory() / folder).glob("*.sql")}
    assert set(stored) == set(files)
    for name, text in files.items():
        assert stored[name]["comment"], f"{name} has no comment"
        if body := re.search(r"AS \$\$(.*)\$\$;", text, re.DOTALL):
            assert stored[name]["prosrc"] == body[1], f"{name} is not what its file says"


async def test_every_function_pins_its_search_path(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        """
        SELECT oid::regprocedure::text AS name FROM pg_proc
        WHERE pronamespace IN ('occupancy'::regnamespace, 'bi'::regnamespace)
          -- a procedure that commits may not have one; a body that was parsed at creation needs none
          AND prokind = 'f' AND prosqlbody IS NULL
          -- pg_temp last: nobody's temporary types are found before the system's
          AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)
        """
    )
    assert [row["name"] for row in rows] == []


async def test_every_view_and_every_column_of_bi_has_a_comment(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        """
        SELECT relname, relkind::text AS kind, coalesce(reloptions, '{}') AS options,
          obj_description(pg_class.oid, 'pg_class') AS comment,
          array_agg(attname::text ORDER BY attnum)
            FILTER (WHERE col_description(pg_class.oid, attnum) IS NULL) AS unsaid
        FROM pg_class
        JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0
        WHERE relnamespace = 'bi'::regnamespace
        GROUP BY pg_class.oid
        """
    )
    assert {row["relname"] for row in rows} == {
        file.stem for file in (schema.sql_directory() / "views").glob("*.sql")
    }
    for row in rows:
        assert row["comment"], row["relname"]
        assert row["unsaid"] is None, row["relname"]
        assert row["kind"] == "v", row["relname"]
        assert "security_barrier=true" in row["options"], row["relname"]


async def test_what_bi_may_and_nobody_else(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        """
        SELECT pg_proc.oid::regprocedure::text AS name FROM pg_proc
        WHERE pronamespace = 'occupancy'::regnamespace
          AND has_function_privilege('occupancy_bi', pg_proc.oid, 'EXECUTE')
        """
    )
    assert {row["name"].partition("(")[0] for row in rows} == {
        "occupancy.visible_organizations",
        "occupancy.grid",
        "occupancy.bucket_of",
        "occupancy.count_of",
    }
    assert await connection.fetchval("SELECT has_schema_privilege('occupancy_bi', 'bi', 'USAGE')")
    assert not await connection.fetchval(
        "SELECT has_schema_privilege('occupancy_bi', 'occupancy', 'USAGE, CREATE')"
    )
    tables = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'occupancy'::regnamespace AND relkind IN ('r', 'v', 'p') "
        "AND has_any_column_privilege('occupancy_bi', oid, 'SELECT, INSERT, UPDATE')"
    )
    assert tables == []


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


async def test_migrating_leaves_what_others_have_put_into_bi(
    connection: asyncpg.Connection, migrated_url: str
) -> None:
    await connection.execute("CREATE VIEW bi.of_an_administrator AS SELECT 1 AS one")
    try:
        await schema.migrate(migrated_url)
        assert await connection.fetchval("SELECT one FROM bi.of_an_administrator") == 1
    finally:
        await connection.execute("DROP VIEW bi.of_an_administrator")


async def test_a_revision_reads_nothing_from_sql() -> None:
    revisions = list((schema._shipped("alembic") / "versions").glob("*.py"))
    assert revisions
    for revision in revisions:
        assert "sql_directory" not in revision.read_text(), revision
        assert "/sql" not in revision.read_text(), revision


@pytest.mark.parametrize("file", sorted((ROOT / "sql").rglob("*.sql")), ids=lambda file: file.stem)
def test_every_file_is_used(file: Path) -> None:
    assert file in [*schema.storage_files(), *schema.logic_files()]
