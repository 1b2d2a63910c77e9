"""A BI login sees one organization, whatever it tries. docs/bi.md lists what is tried here and what remains visible.

On the embedded database in the place of the one session there is, which is a superuser's until it takes the login's
name, so that the settings of the login do not hold; on a native one with real logins, which undo their settings first.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from occupancy import schema
from occupancy.bi import drop_login, make_login
from occupancy.database import Database
from occupancy.errors import Conflict, InvalidInput, NotFound, UnknownReference
from occupancy.refresh import Refresher
from occupancy.settings import Settings
from tests.effort import ON_NATIVE
from tests.sql import bi

SINCE = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
VIEWS = sorted(file.stem for file in (schema.sql_directory() / "views").glob("*.sql"))
HOURS = " WHERE bucket_start >= '2026-03-02 08:00+00' AND bucket_start < '2026-03-02 10:00+00'"
DAYS = " WHERE bucket_start >= '2026-02-27 00:00+00' AND bucket_start < '2026-03-03 00:00+00'"
WHERE = {
    view: " WHERE true" if not view.startswith("occupancy_") else HOURS if view.endswith(("m", "h")) else DAYS
    for view in VIEWS
}


@dataclass
class Attacker:
    """An analyst of organization 1 with a schema of its own, as dbt users have one."""

    session: asyncpg.Connection
    owner: asyncpg.Connection
    names: dict[str, str]
    real: bool
    old_timescaledb: bool

    async def tries(self, statement: str) -> str:
        """All that a statement brings to light: rows, notices, and every word of an error."""
        seen: list[str] = []

        def listen(_: Any, message: Any) -> None:
            seen.append(str(message.as_dict()))

        self.session.add_log_listener(listen)
        try:
            for part in self.filled(statement).split(";;"):
                rows = await self.session.fetch(part)
                seen.extend(repr(tuple(row.values())) for row in rows)
        except asyncpg.PostgresError as error:
            seen.append(f"{type(error).__name__} {error.as_dict()}")
        finally:
            self.session.remove_log_listener(listen)
        return "\n".join(seen)

    def filled(self, statement: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: self.names[found[1]], statement)


async def _names(connection: asyncpg.Connection, login: str) -> dict[str, str]:
    row = await connection.fetchrow(
        """
        SELECT chunk.chunk_schema || '.' || chunk.chunk_name AS chunk,
          format('%I.%I', chunk.chunk_schema, chunk.chunk_name)::regclass::oid::text AS chunk_oid,
          cagg.materialization_hypertable_schema || '.' || cagg.materialization_hypertable_name AS materialized,
          'occupancy.crossing'::regclass::oid::text AS crossing_oid,
          'occupancy.space'::regclass::oid::text AS space_oid,
          'occupancy.count_at(integer,timestamptz)'::regprocedure::oid::text AS count_at_oid,
          (SELECT job_id::text FROM timescaledb_information.jobs WHERE proc_name = 'refresh_aggregates') AS job,
          (SELECT id::text FROM occupancy.space WHERE space_id = 'lab-room') AS lab_room,
          current_database() AS database
        FROM timescaledb_information.chunks AS chunk, timescaledb_information.continuous_aggregates AS cagg
        WHERE chunk.hypertable_name = 'crossing' AND cagg.view_name = 'flow_15m'
        """
    )
    assert row is not None
    return {**{name: str(value) for name, value in row.items()}, "own": login, "login": login}


@pytest.fixture(params=["in place", pytest.param("logged in", marks=pytest.mark.native)])
async def attacker(
    request: pytest.FixtureRequest, database_url: str, settings: Settings
) -> AsyncIterator[Attacker]:
    really = request.param == "logged in"
    if really and not ON_NATIVE:
        database_url = request.getfixturevalue("native_url")
    owner = await asyncpg.connect(database_url)
    database = await Database.connect(database_url, 1)
    try:
        await bi.two_organizations(owner, SINCE)
        await Refresher(database, settings).run_once()
        await owner.execute("ANALYZE")
        async with bi.login(owner, "default") as name:
            await owner.execute(f"CREATE SCHEMA {name} AUTHORIZATION {name}")
            names = await _names(owner, name)
            async with bi.logged_in(owner, database_url, name, really=really) as session:
                await session.execute(
                    "SET default_transaction_read_only = off; SET statement_timeout = '60s'"
                )
                await session.execute("SET search_path = bi, public")
                version = await session.fetchval(
                    "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
                )
                old = tuple(int(part) for part in re.findall(r"\d+", version)[:3]) < (2, 29, 1)
                yield Attacker(session, owner, names, really, old)
                with suppress(asyncpg.PostgresError):
                    await session.execute("ROLLBACK")
                await session.execute("RESET search_path; RESET statement_timeout")
                await session.execute("RESET default_transaction_read_only")
    finally:
        await database.close()
        await bi.forget_organizations(owner)
        await owner.close()


# What must be refused: access that would give rows, or change anything.
REFUSED = [
    *(
        f"SELECT * FROM occupancy.{name}"
        for name in (*schema.TABLES, *schema.AGGREGATES, "alembic_version")
    ),
    "SELECT * FROM {chunk}",
    "SELECT * FROM ONLY {chunk}",
    "TABLE {materialized}",
    "SELECT 'occupancy.space'::regclass",
    "SELECT count(*) FROM pg_catalog.pg_statistic",
    "SELECT rolpassword FROM pg_catalog.pg_authid",
    # files and programs
    "COPY occupancy.space TO STDOUT",
    "COPY {chunk} TO STDOUT",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/bi'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('/etc/hostname')",
    # functions that the views and functions of bi call
    "SELECT * FROM occupancy.count_at({lab_room}, now())",
    "SELECT * FROM occupancy.count_of({lab_room}, now())",
    "SELECT * FROM occupancy.bucket_of({lab_room}, now() - INTERVAL '1 hour', now())",
    "SELECT * FROM occupancy.series(ARRAY[{lab_room}], now() - INTERVAL '1 hour', now(), '1 hour')",
    "SELECT * FROM occupancy.visible_space('lab-room')",
    "SELECT * FROM occupancy.grid('1 day')",
    "PREPARE stolen AS SELECT * FROM occupancy.space",
    "DO $$ BEGIN PERFORM * FROM occupancy.space; END $$",
    "DO $$ BEGIN EXECUTE format('SELECT 1 FROM %s', {chunk_oid}::regclass); END $$",
    "DO $$ BEGIN EXECUTE format('SELECT %s(1, now())', split_part({count_at_oid}::regprocedure::text, '(', 1)); END $$",
    "CREATE OPERATOR {own}.@@@ (FUNCTION = occupancy.count_at, LEFTARG = integer, RIGHTARG = timestamptz)",
    "CREATE AGGREGATE {own}.stolen (integer) (SFUNC = occupancy.count_of, STYPE = integer)",
    "CREATE CAST (integer AS bigint) WITH FUNCTION occupancy.count_at(integer, timestamptz)",
    "CREATE VIEW {own}.stolen AS SELECT * FROM occupancy.space",
    "CREATE MATERIALIZED VIEW {own}.stolen AS SELECT * FROM {chunk}",
    "CREATE TABLE {own}.stolen (LIKE occupancy.space)",
    "CREATE TABLE {own}.stolen () INHERITS ({chunk})",
    "CREATE RULE stolen AS ON SELECT TO bi.spaces DO INSTEAD SELECT 1",
    "CREATE TRIGGER stolen INSTEAD OF INSERT ON bi.spaces EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "SELECT query_to_xml('SELECT * FROM occupancy.space', true, true, '')",
    "SELECT table_to_xml({space_oid}::regclass, true, true, '')",
    "SELECT ts_stat('SELECT to_tsvector(name) FROM occupancy.space')",
    # what writers, refreshes and migrations wait for
    "SELECT pg_advisory_lock(7301000001)",
    "SELECT pg_advisory_xact_lock_shared(7301000001)",
    "SELECT pg_try_advisory_lock(1, 2)",
    # who one is, and who may
    "SELECT * FROM occupancy.bi_login",
    "UPDATE occupancy.bi_login SET organization = 2",
    "GRANT occupancy_bi TO {login} WITH ADMIN OPTION",
    "GRANT pg_read_all_data TO {login}",
    "ALTER ROLE {login} SUPERUSER",
    "ALTER ROLE postgres SET search_path = {own}",
    "CREATE ROLE {login}_2",
    "GRANT USAGE ON SCHEMA occupancy TO {login}",
    "SET session_replication_role = replica",
    "ALTER SYSTEM SET log_statement = 'all'",
    "ALTER DATABASE {database} SET search_path = {own}",
    # writing, also through views
    "INSERT INTO occupancy.organization (organization_id, name) VALUES ('x', 'x')",
    "INSERT INTO {chunk} SELECT now(), 1, 0, 1, 0",
    "TRUNCATE occupancy.crossing",
    "LOCK TABLE occupancy.crossing",
    "LOCK TABLE {chunk} IN ACCESS EXCLUSIVE MODE",
    "UPDATE bi.dpus SET name = 'x'",
    "DELETE FROM bi.dpus",
    "INSERT INTO bi.dpus (dpu_id, name) VALUES ('x', 'x')",
    "SELECT * FROM bi.dpus FOR UPDATE",
    "ALTER VIEW bi.spaces SET (security_barrier = false)",
    "ALTER VIEW bi.spaces OWNER TO {login}",
    "CREATE OR REPLACE VIEW bi.spaces AS SELECT 1",
    "DROP VIEW bi.spaces",
    "COMMENT ON VIEW bi.spaces IS 'x'",
    "CREATE TABLE bi.stolen (a integer)",
    "CREATE TABLE public.stolen (a integer)",
    "CREATE TABLE occupancy.stolen (a integer)",
    "CREATE FUNCTION bi.stolen() RETURNS integer LANGUAGE sql RETURN 1",
    "CREATE OR REPLACE FUNCTION bi.count_at(space text, at timestamptz) RETURNS bigint LANGUAGE sql RETURN 1",
    "ALTER FUNCTION bi.count_at(text, timestamptz) RESET ALL",
    "CREATE SCHEMA stolen",
    "CREATE TEMPORARY TABLE space (id integer)",
    "CREATE FUNCTION pg_temp.stolen() RETURNS integer LANGUAGE sql RETURN 1",
    "CREATE DOMAIN pg_temp.timestamptz AS text",
    "CREATE FUNCTION {own}.leak(text) RETURNS boolean LEAKPROOF LANGUAGE sql RETURN true",
    "CREATE FUNCTION {own}.leak() RETURNS integer LANGUAGE internal AS 'pg_backend_pid'",
    "CREATE EVENT TRIGGER stolen ON ddl_command_end EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE PUBLICATION stolen FOR ALL TABLES",
    "SELECT pg_create_logical_replication_slot('stolen', 'pgoutput')",
    "CREATE STATISTICS {own}.stolen ON space_id, name FROM occupancy.space",
    "ANALYZE occupancy.space;;SELECT 1/0 FROM occupancy.space",
    "ALTER SEQUENCE occupancy.space_id_seq RESTART",
    "SELECT nextval('occupancy.space_id_seq')",
    # TimescaleDB's own ways
    "SELECT drop_chunks({crossing_oid}::regclass, older_than => now())",
    "SELECT compress_chunk({chunk_oid}::regclass)",
    "SELECT decompress_chunk({chunk_oid}::regclass)",
    "SELECT alter_job({job}, scheduled => false)",
    "CALL run_job({job})",
    "SELECT delete_job({job})",
    "SELECT add_retention_policy({crossing_oid}::regclass, INTERVAL '1 day')",
    "SELECT set_chunk_time_interval({crossing_oid}::regclass, INTERVAL '1 day')",
    "SELECT add_dimension({crossing_oid}::regclass, by_hash('dpu', 2))",
    "SELECT attach_tablespace('pg_default', {crossing_oid}::regclass)",
    "SELECT _timescaledb_functions.create_chunk({crossing_oid}::regclass, '{\"time\": [0, 1]}'::jsonb)",
    "SELECT _timescaledb_functions.drop_chunk({chunk_oid}::regclass)",
    "SELECT _timescaledb_functions.freeze_chunk({chunk_oid}::regclass)",
    "DELETE FROM _timescaledb_catalog.hypertable",
    "UPDATE _timescaledb_config.bgw_job SET owner = '{login}'",
]  # fmt: skip


async def test_what_must_be_refused_is_refused(attacker: Attacker) -> None:
    allowed = []
    for statement in REFUSED:
        # a procedure may want to commit
        await attacker.session.execute(
            "SELECT 1" if statement.startswith(("CALL", "ALTER SYSTEM")) else "BEGIN"
        )
        found = await attacker.tries(statement)
        await attacker.session.execute("ROLLBACK")
        assert not [mark for mark in bi.MARKS if mark in found], statement
        if "Error" not in found:
            allowed.append((statement, found))
        elif not re.search(
            r"^(InsufficientPrivilege|FeatureNotSupported|UndefinedFile|WrongObjectType|SyntaxOrAccess)",
            found,
            re.MULTILINE,
        ):
            # Another reason than rights would be no reason tomorrow.
            allowed.append((statement, found))
    if attacker.old_timescaledb:
        # Before 2.29.1 its internal functions ask for no rights; the service wants 2.29.2, the embedded one is older.
        allowed = [
            (statement, found) for statement, found in allowed if "_timescaledb_functions." not in statement
        ]
    assert allowed == []


# What may be answered: but nobody sees the other organization in it.
ANSWERED = [
    *(f"SELECT * FROM bi.{view}{WHERE[view]}" for view in VIEWS),
    "SELECT * FROM bi.counts_at('2026-03-02 12:00+00')",
    "SELECT * FROM bi.series_of_all('2026-03-02 08:00+00', '2026-03-02 10:00+00', '1 hour')",
    "SELECT * FROM bi.top('2026-03-02 08:00+00', '2026-03-02 10:00+00', most => NULL)",
    # statistics and catalogs
    "SELECT pg_stats::text FROM pg_stats WHERE schemaname IN ('occupancy', '_timescaledb_internal', 'bi')",
    "SELECT pg_stats_ext::text FROM pg_stats_ext",
    "SELECT pg_stats_ext_exprs::text FROM pg_stats_ext_exprs",
    "SELECT query FROM pg_stat_activity",
    "SELECT * FROM pg_stat_user_tables",
    "SELECT * FROM pg_sequences",
    "SELECT * FROM information_schema.columns WHERE table_schema = 'occupancy'",
    "SELECT * FROM pg_largeobject_metadata",
    "SELECT relname, reltuples FROM pg_class",
    "SELECT prosrc FROM pg_proc",
    "SELECT pg_get_viewdef('bi.spaces'::regclass)",
    "SELECT * FROM pg_db_role_setting",
    "SELECT * FROM pg_user_mappings",
    "SELECT schema_to_xml('occupancy', true, true, '')",
    # TimescaleDB's catalogs
    "SELECT * FROM timescaledb_information.hypertables",
    "SELECT * FROM timescaledb_information.chunks",
    "SELECT * FROM timescaledb_information.continuous_aggregates",
    "SELECT * FROM timescaledb_information.jobs",
    "SELECT * FROM timescaledb_information.job_errors",
    "SELECT * FROM timescaledb_information.job_history",
    "SELECT * FROM _timescaledb_catalog.hypertable",
    "SELECT * FROM _timescaledb_catalog.chunk",
    "SELECT * FROM _timescaledb_catalog.dimension_slice",
    "SELECT * FROM _timescaledb_catalog.continuous_agg",
    "SELECT * FROM _timescaledb_catalog.chunk_column_stats",
    "SELECT show_chunks({crossing_oid}::regclass)",
    "SELECT hypertable_size({crossing_oid}::regclass)",
    "SELECT approximate_row_count({crossing_oid}::regclass)",
    # predicates that tell what they see
    "CREATE FUNCTION {own}.leak(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ "
    "BEGIN RAISE NOTICE 'seen %', $1; RETURN true; END $$;;"
    + ";;".join(
        f"SELECT * FROM bi.{view} AS v{WHERE[view]} "
        "AND {own}.leak(v)" for view in VIEWS
    ),
    ("CREATE FUNCTION {own}.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ "
    "BEGIN RAISE NOTICE 'seen %', $1; RETURN true; END $$;;"
    "SELECT * FROM bi.spaces WHERE {own}.leak(name);;SELECT * FROM bi.doorways WHERE {own}.leak(name);;"
    "SELECT * FROM bi.dpus WHERE {own}.leak(name);;SELECT * FROM bi.resets WHERE {own}.leak(reason);;"
    "SELECT * FROM bi.resets JOIN bi.spaces USING (space_id) WHERE {own}.leak(reason || name)"),
    ("CREATE FUNCTION {own}.leak(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ "
    "BEGIN RAISE NOTICE 'seen % %', $1, $2; RETURN true; END $$;;"
    "CREATE OPERATOR {own}.~~~ (FUNCTION = {own}.leak, LEFTARG = text, RIGHTARG = text);;"
    "SELECT * FROM bi.spaces WHERE name OPERATOR({own}.~~~) ''"),
    "SELECT * FROM bi.spaces WHERE 1 / (capacity - 424242) > 1",
    "SELECT * FROM bi.resets WHERE 1 / (count - 424242) > 1",
    "SELECT * FROM bi.spaces WHERE name::integer > 1",
    "SELECT * FROM bi.spaces WHERE NOT (name LIKE 'Lobby ours' OR name LIKE 'Room ours') AND name::integer > 1",
    "SELECT * FROM bi.resets WHERE reason NOT LIKE '%ours' AND reason::integer > 1",
    "SELECT * FROM bi.crossings WHERE 1 / (direction - 1) > 1 AND dpu_id NOT LIKE 'our%'",
    "SELECT * FROM bi.current_counts WHERE capacity::text::smallint > 1 AND space_id LIKE 'lab%'",
    "SELECT * FROM bi.spaces ORDER BY CASE WHEN name LIKE '%ours' THEN 1 ELSE name::integer END",
    # settings that change plans
    ("SET enable_hashjoin = off;;SET enable_nestloop = off;;SET enable_memoize = off;;"
    "CREATE FUNCTION {own}.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ "
    "BEGIN RAISE NOTICE 'seen %', $1; RETURN true; END $$;;"
    "SELECT * FROM bi.crossings WHERE {own}.leak(dpu_id);;SELECT * FROM bi.placements WHERE {own}.leak(dpu_id);;"
    "RESET enable_hashjoin;;RESET enable_nestloop;;RESET enable_memoize"),
    # search_path: a function of one's own never stands for one that bi calls
    ("CREATE FUNCTION {own}.has_table_privilege(name, text, text) RETURNS boolean LANGUAGE sql RETURN true;;"
    "CREATE VIEW {own}.spaces AS SELECT 'mine'::text AS space_id;;"
    "CREATE FUNCTION {own}.visible_organizations() RETURNS integer[] LANGUAGE sql RETURN ARRAY[1, 2];;"
    "SET search_path = {own}, pg_catalog, bi;;SELECT * FROM bi.spaces;;"
    "SELECT * FROM bi.counts_at(now());;SET search_path = bi, public"),
    # a view of one's own over a view of bi, and a function that runs as whoever calls it
    "CREATE VIEW {own}.mine AS SELECT * FROM bi.spaces;;SELECT * FROM {own}.mine",
    "PREPARE mine AS SELECT * FROM bi.spaces WHERE space_id = $1;;EXECUTE mine('lab-room');;DEALLOCATE mine",
    "LISTEN everything;;NOTIFY everything, 'x';;UNLISTEN *",
]  # fmt: skip
# All rows of all views, up to today: half a minute on the embedded database, and longer with each day that passes.
ANSWERED_BY_A_SERVER = ["SELECT database_to_xml(true, true, '')"]


async def test_nothing_that_is_answered_tells_of_another_organization(attacker: Attacker) -> None:
    on_server = attacker.real or ON_NATIVE
    for statement in [*ANSWERED, *(ANSWERED_BY_A_SERVER if on_server else [])]:
        await attacker.session.execute("BEGIN")
        found = await attacker.tries(statement)
        await attacker.session.execute("ROLLBACK")
        seen = [mark for mark in bi.MARKS if mark in found]
        # The text of the attack names the number that it divides by.
        assert seen == [], f"{statement}: {found}"
        assert "lab-" not in found.replace(statement, ""), f"{statement}: {found}"


EXPLAIN = "EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) "
# There are the ids of the other organization, its counts and capacities, and instants at which it alone has crossings;
# to the right, what nobody has.
ORACLES = [
    ("SELECT * FROM bi.spaces WHERE space_id = '%s'", "lab-room", "nix-room"),
    ("SELECT * FROM bi.spaces WHERE capacity = %s", "424242", "424243"),
    ("SELECT * FROM bi.spaces WHERE name = '%s'", "Room geheim vertraulich", "Room nobody has by name"),
    ("SELECT * FROM bi.doorways WHERE doorway_id = '%s'", "lab-door", "nix-door"),
    ("SELECT * FROM bi.doorways WHERE side_a = '%s'", "lab-room", "nix-room"),
    ("SELECT * FROM bi.dpus WHERE dpu_id = '%s'", "lab-door-dpu", "nix-door-dpu"),
    ("SELECT * FROM bi.placements WHERE dpu_id = '%s'", "lab-door-dpu", "nix-door-dpu"),
    ("SELECT * FROM bi.placements WHERE doorway_id = '%s'", "lab-door", "nix-door"),
    ("SELECT * FROM bi.resets WHERE space_id = '%s'", "lab-room", "nix-room"),
    ("SELECT * FROM bi.resets WHERE count = %s", "424242", "424243"),
    ("SELECT * FROM bi.current_counts WHERE space_id = '%s'", "lab-room", "nix-room"),
    ("SELECT * FROM bi.dpu_health WHERE dpu_id = '%s'", "lab-door-dpu", "nix-door-dpu"),
    ("SELECT * FROM bi.occupancy_1h WHERE space_id = '%s'", "lab-room", "nix-room"),
    ("SELECT * FROM bi.crossings WHERE dpu_id = '%s'", "lab-door-dpu", "nix-door-dpu"),
    (
        (
            "SELECT * FROM bi.crossings WHERE timestamp >= '2026-03-02 %s:00+00' "
            "AND timestamp < '2026-03-02 %s:30+00'"
        ),
        "08:40",
        "18:40",
    ),
    ("SELECT * FROM bi.crossings WHERE timestamp = '2026-03-02 %s:00+00'", "08:40", "18:40"),
    ("SELECT bi.count_at('%s', now())", "lab-room", "nix-room"),
    ("SELECT * FROM bi.series('%s', '2026-03-02', '2026-03-03', '1 hour')", "lab-room", "nix-room"),
    ("SELECT * FROM bi.profile('%s', '2026-03-02', '2026-03-03')", "lab-room", "nix-room"),
    ("SELECT * FROM bi.entries_by_doorway('%s', '2026-03-02', '2026-03-03')", "lab-room", "nix-room"),
]


@pytest.mark.parametrize("prefix", ["", EXPLAIN], ids=["asked", "explained"])
async def test_what_another_organization_has_looks_as_if_nobody_had_it(
    attacker: Attacker, prefix: str
) -> None:
    for setting in (None, "enable_indexscan", "enable_nestloop", "enable_seqscan"):
        if setting:
            await attacker.session.execute(f"SET {setting} = off")
        for question, theirs, nobodys in ORACLES:
            answers = [
                (await attacker.tries(prefix + question.replace("%s", guess)))
                .replace(guess, "?")
                .replace(guess.replace(":", ""), "?")
                for guess in (theirs, nobodys)
            ]
            # Where a plan sorts in memory, how much of it is used hangs on nothing but the text of the condition.
            answers = [re.sub(r"Memory: \d+kB", "Memory", answer) for answer in answers]
            assert answers[0] == answers[1], f"{setting} {question}"
        if setting:
            await attacker.session.execute(f"RESET {setting}")


async def test_the_rows_of_crossings_are_never_counted_for_another(attacker: Attacker) -> None:
    explained = await attacker.tries(
        "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM bi.crossings"
    )
    # 8 crossings of ours by 2 DPUs, 70 of theirs
    rows = {int(float(number)) for number in re.findall(r"rows=([\d.]+)", explained)}
    assert max(rows) == 8, explained


async def test_each_login_sees_its_own(attacker: Attacker) -> None:
    assert await attacker.tries("SELECT space_id, name FROM bi.spaces ORDER BY 1") == (
        "('lobby', 'Lobby ours')\n('our-room', 'Room ours')"
    )
    assert await attacker.tries("SELECT bi.count_at('lobby', '2026-03-02 12:00+00')") == "(5,)"
    for view in VIEWS:
        assert await attacker.tries(f"SELECT * FROM bi.{view}{WHERE[view]} LIMIT 1"), view
    if attacker.real:
        async with bi.login(attacker.owner, bi.OTHER) as name:
            url = make_url("postgresql://h").set(username=name)
            host, port = attacker.owner._addr  # type: ignore[attr-defined]
            other = await asyncpg.connect(
                user=url.username, host=host, port=port, database=attacker.names["database"]
            )
            assert await other.fetchval("SELECT bi.count_at('lobby', $1)", NOON) == 50
            assert await other.fetchval("SELECT count(*) FROM bi.crossings") == 70
            # The row decides, from the next statement on.
            await attacker.owner.execute(f"DELETE FROM occupancy.bi_login WHERE login = '{name}'")
            for view in VIEWS:
                assert await other.fetch(f"SELECT * FROM bi.{view} LIMIT 1") == [], view
            with pytest.raises(asyncpg.NoDataFoundError):
                await other.fetchval("SELECT bi.count_at('lobby', $1)", NOON)
            assert await other.fetch("SELECT * FROM bi.counts_at($1)", NOON) == []
            await attacker.owner.execute(
                f"INSERT INTO occupancy.bi_login SELECT '{name}', id FROM occupancy.organization LIMIT 1"
            )
            await other.close()


async def test_who_may_read_the_tables_sees_every_organization(attacker: Attacker) -> None:
    if not attacker.real:
        pytest.skip("there is one session")
    assert await attacker.owner.fetchval("SELECT count(*) FROM bi.spaces") == 4
    # Acting as the analyst, without having logged in as him, shows no more than he could see... by his own rights.
    with pytest.raises(asyncpg.CardinalityViolationError):
        await attacker.owner.fetchval("SELECT bi.count_at('lobby', $1)", NOON)


async def test_temporary_types_stand_for_nothing(attacker: Attacker) -> None:
    """Even where an administrator lets the analyst make temporary objects."""
    if not attacker.real:
        await attacker.session.execute("RESET SESSION AUTHORIZATION")
    await attacker.owner.execute(attacker.filled("GRANT TEMPORARY ON DATABASE {database} TO {login}"))
    if not attacker.real:
        await attacker.session.execute(attacker.filled("SET SESSION AUTHORIZATION {login}"))
    types = (
        "timestamptz",
        "timestamp",
        "text",
        "date",
        "time",
        "float8",
        "name",
        "interval",
        "tstzrange",
        "tstzmultirange",
    )
    await attacker.session.execute(
        attacker.filled(
            "CREATE FUNCTION {own}.as_whom(anyelement) RETURNS boolean LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE NOTICE 'runs as %', current_user; RETURN true; END $$"
        )
    )
    for name in types:
        await attacker.session.execute(
            attacker.filled(
                f'CREATE DOMAIN pg_temp."{name}" AS pg_catalog."{name}" CHECK ({{own}}.as_whom(value))'
            )
        )
    for table in ("space", "organization", "bi_login"):
        await attacker.session.execute(f"CREATE TEMPORARY TABLE {table} (id integer)")
    try:
        for question in (
            "SELECT count(*) FROM bi.series('lobby', '2026-03-02', '2026-03-03', '1 hour', 'UTC', 'Mon 08:00-18:00')",
            "SELECT bi.count_at('lobby', '2026-03-02 12:00+00')",
            "SELECT count(*) FROM bi.counts_at('2026-03-02 12:00+00')",
            "SELECT count(*) FROM bi.series_of_all('2026-03-02', '2026-03-03', '1 day')",
            "SELECT count(*) FROM bi.profile('lobby', '2026-03-02', '2026-03-03')",
            "SELECT count(*) FROM bi.entries_by_doorway('lobby', '2026-03-02', '2026-03-03')",
            "SELECT count(*) FROM bi.top('2026-03-02', '2026-03-03')",
            *(f"SELECT count(*) FROM bi.{view}{WHERE[view]}" for view in VIEWS),
        ):
            found = await attacker.tries(question)
            assert "Error" not in found, found
            assert "runs as" not in found, question
    finally:
        await attacker.session.execute("DISCARD TEMP")
        if not attacker.real:
            await attacker.session.execute("RESET SESSION AUTHORIZATION")
        await attacker.owner.execute(attacker.filled("REVOKE TEMPORARY ON DATABASE {database} FROM {login}"))
        if not attacker.real:
            await attacker.session.execute(attacker.filled("SET SESSION AUTHORIZATION {login}"))


async def test_nobody_becomes_somebody_else(attacker: Attacker) -> None:
    if not attacker.real:
        pytest.skip("the one session began as a superuser's")
    owner = await attacker.owner.fetchval("SELECT current_user")
    for statement in (
        f'SET ROLE "{owner}"',
        f'SET SESSION AUTHORIZATION "{owner}"',
        f'SET LOCAL ROLE "{owner}"',
    ):
        assert "InsufficientPrivilege" in await attacker.tries(statement)
    for statement in (
        "RESET ROLE",
        "RESET SESSION AUTHORIZATION",
        "SET ROLE occupancy_bi",
        "RESET ALL",
        "DISCARD ALL",
    ):
        await attacker.tries(statement)
        assert "geheim" not in await attacker.tries("SELECT * FROM bi.spaces")
        assert "Lobby ours" in await attacker.tries("SELECT * FROM bi.spaces")


async def test_a_login_starts_with_its_settings(attacker: Attacker) -> None:
    if not attacker.real:
        pytest.skip("there is one session")
    await attacker.session.execute("RESET ALL")
    for setting, value in (
        ("search_path", "bi"),
        ("statement_timeout", "30s"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("default_transaction_read_only", "on"),
    ):
        assert await attacker.session.fetchval("SELECT current_setting($1)", setting) == value
    assert await attacker.session.fetchval("SELECT count(*) FROM spaces") == 2
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await attacker.session.execute(attacker.filled("CREATE TABLE {own}.mine (a integer)"))


@pytest.mark.native
async def test_a_function_is_not_called_by_its_number(attacker: Attacker) -> None:
    """The protocol's own call by OID ('F') looks at the schema as well as at the function."""
    if not attacker.real:
        pytest.skip("there is one session")
    oid = await attacker.owner.fetchval(
        "SELECT 'occupancy.bucket_of(integer,timestamptz,timestamptz)'::regprocedure::oid"
    )
    host, port = attacker.owner._addr  # type: ignore[attr-defined]
    reader, writer = await asyncio.open_connection(host, port)
    start = f"user\0{attacker.names['login']}\0database\0{attacker.names['database']}\0\0".encode()
    writer.write(struct.pack(">ii", len(start) + 8, 196608) + start)
    arguments = b"".join(
        struct.pack(">i", len(text)) + text
        for text in (attacker.names["lab_room"].encode(), b"2026-03-02 08:00+00", b"2026-03-02 09:00+00")
    )
    body = struct.pack(">ihh", oid, 0, 3) + arguments + struct.pack(">h", 0)
    writer.write(b"F" + struct.pack(">i", len(body) + 4) + body)
    answer = b""
    with suppress(TimeoutError):
        async with asyncio.timeout(2):
            while b"permission denied" not in answer:
                answer += await reader.read(4096)
    writer.close()
    await writer.wait_closed()
    assert b"permission denied for schema occupancy" in answer


# Making logins


async def test_a_name_is_only_a_name(connection: asyncpg.Connection) -> None:
    name = "x\"; DROP TABLE occupancy.space; --' %I"
    await make_login(connection, name, "default", "a good password")
    try:
        row = await connection.fetchrow(
            "SELECT rolcanlogin, rolsuper, rolconnlimit, rolconfig FROM pg_roles WHERE rolname = $1", name
        )
        assert row is not None
        assert (row["rolcanlogin"], row["rolsuper"], row["rolconnlimit"]) == (True, False, 10)
        stored = await connection.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = $1", name)
        assert stored.startswith("SCRAM-SHA-256$4096:")
        # again, with another organization and no password: it stays
        await make_login(connection, name, "default")
        assert stored == await connection.fetchval(
            "SELECT rolpassword FROM pg_authid WHERE rolname = $1", name
        )
    finally:
        await drop_login(connection, name)
    assert await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", name) == 0
    assert await connection.fetchval("SELECT count(*) FROM occupancy.bi_login") == 0
    with pytest.raises(NotFound):
        await drop_login(connection, name)


@pytest.mark.parametrize(
    ("name", "organization", "password", "error"),
    [
        ("", "default", None, InvalidInput),
        ("a" * 64, "default", None, InvalidInput),
        ("a\nb", "default", None, InvalidInput),
        ("pg_analyst", "default", None, InvalidInput),
        ("public", "default", None, InvalidInput),
        ("bi_test_analyst", "default", "short", InvalidInput),
        ("bi_test_analyst", "default", "", InvalidInput),
        ("bi_test_analyst", "default", "pässwörter", InvalidInput),
        ("bi_test_analyst", "nobody", None, UnknownReference),
        ("postgres", "default", None, Conflict),
        ("occupancy_bi", "default", None, Conflict),
    ],
)
async def test_no_login_is_made(
    connection: asyncpg.Connection, name: str, organization: str, password: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await make_login(connection, name, organization, password)
    assert await connection.fetchval("SELECT count(*) FROM occupancy.bi_login") == 0
    assert await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = 'bi_test_analyst'") == 0


@pytest.mark.native
async def test_a_password_opens_only_with_itself(native_url: str) -> None:
    """The verifier is the one that the server itself would make of the password and the same salt."""
    connection = await asyncpg.connect(native_url)
    await make_login(connection, "bi_test_password", "default", "correct horse")
    try:
        stored = await connection.fetchval(
            "SELECT rolpassword FROM pg_authid WHERE rolname = 'bi_test_password'"
        )
    finally:
        await drop_login(connection, "bi_test_password")
        await connection.close()
    assert re.fullmatch(r"SCRAM-SHA-256\$4096:[\w+/]{22}==\$[\w+/]{43}=:[\w+/]{43}=", stored)


async def test_the_start_of_history_is_the_first_bucket(
    connection: asyncpg.Connection, database: Database, settings: Settings
) -> None:
    assert await connection.fetchval("SELECT count(*) FROM bi.occupancy_1d") == 0
    try:
        await bi.two_organizations(connection, SINCE)
        # nothing is aggregated: at the latest the start of the chunk
        start = await connection.fetchval("SELECT occupancy.history_start()")
        assert SINCE - timedelta(days=7) <= start <= SINCE
        await Refresher(database, settings).run_once()
        assert await connection.fetchval("SELECT occupancy.history_start()") == SINCE
    finally:
        await bi.forget_organizations(connection)
