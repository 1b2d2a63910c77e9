"""Every statement of the Grafana dashboard runs, as a BI login, and shows something."""

from __future__ import annotations

import json
import re
from typing import Any

import asyncpg
import pytest

from occupancy.settings import Settings
from tests.conftest import ROOT
from tests.sql import bi

GRAFANA = ROOT / "docker" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "occupancy.json").read_text())
PANELS = [(panel["title"], target["rawSql"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
VARIABLES = {variable["name"]: variable["query"] for variable in DASHBOARD["templating"]["list"]}
# Of the building of the demo; from-to as Grafana gives them, and the values that its variables offer.
MACROS = {"$__timeFrom()": "'2026-03-01T23:00:00Z'", "$__timeTo()": "'2026-03-02T23:00:00Z'"}
VALUES = [{"space": "building", "time_zone": "own"}, {"space": "floor-1", "time_zone": "Asia/Tokyo"}]
NULLABLE = {"Sat", "Sun", "capacity", "% of capacity"} | {"Mon", "Tue", "Wed", "Thu", "Fri"}


def filled(statement: str, values: dict[str, str]) -> str:
    """As Grafana would: its macros and variables in place of their names."""
    for macro, value in MACROS.items():
        statement = statement.replace(macro, value)

    def quoted(found: re.Match[str]) -> str:
        return "'" + values[found[1]].replace("'", "''") + "'"

    statement = re.sub(r"\$\{(\w+):sqlstring\}", quoted, statement)
    assert "$" not in statement, "a macro or variable that nobody fills in"
    return statement


async def test_every_panel_shows_something(
    connection: asyncpg.Connection, database_url: str, settings: Settings
) -> None:
    await bi.demo_building(connection, database_url, settings)
    try:
        async with (
            bi.login(connection, "default") as name,
            bi.logged_in(connection, database_url, name, really=bi.on_native()) as session,
        ):
            for title, statement in PANELS:
                for values in VALUES:
                    rows = await session.fetch(filled(statement, values))
                    assert rows, title
                    for column in set(rows[0].keys()) - NULLABLE:
                        assert any(row[column] is not None for row in rows), (title, column)
    finally:
        await bi.forget_organizations(connection)


async def test_the_variables_offer_what_the_panels_take(
    connection: asyncpg.Connection, database_url: str, settings: Settings
) -> None:
    await bi.demo_building(connection, database_url, settings)
    offered = {
        name: {row["__value"] for row in await connection.fetch(query)} for name, query in VARIABLES.items()
    }
    assert {"building", "floor-1", "floor-0-room-1"} <= offered["space"]
    assert offered["time_zone"] == {"own", "Europe/Berlin"}
    used = {name for _, statement in PANELS for name in re.findall(r"\$\{(\w+)", statement)}
    assert used == set(VARIABLES)


def test_nothing_but_schema_bi_is_asked() -> None:
    for title, statement in [*PANELS, *VARIABLES.items()]:
        tables = re.findall(r"\b(?:FROM|JOIN)\s+([\w.]+)", re.sub(r"DISTINCT FROM", "", statement))
        assert tables, title
        assert [table for table in tables if not table.startswith("bi.")] == [], title


@pytest.mark.parametrize(
    "kind", ["Live floor", "Course of the day", "Typical week", "Entries and exits by door", "Sensor health"]
)
def test_what_was_promised_is_there(kind: str) -> None:
    assert kind in [title for title, _ in PANELS]
