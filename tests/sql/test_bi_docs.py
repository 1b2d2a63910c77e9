"""Every statement in docs/bi.md gives the output that is printed below it, on the building of `occupancy demo`.

OCCUPANCY_WRITE_DOCS=1 writes the output anew.
"""

from __future__ import annotations

import os
import re
from typing import Any

import asyncpg

from occupancy import schema
from occupancy.settings import Settings
from tests.conftest import ROOT
from tests.sql import bi

DOCUMENT = ROOT / "docs" / "bi.md"
_EXAMPLE = re.compile(r"```sql\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


def printed(rows: list[asyncpg.Record]) -> str:
    """A table of text; numbers on the right."""
    if not rows:
        return "(no rows)\n"
    names = list(rows[0].keys())
    cells = [["" if value is None else str(value) for value in row.values()] for row in rows]
    widths = [max(len(name), *(len(row[place]) for row in cells)) for place, name in enumerate(names)]
    right = [
        all(
            value is None or isinstance(value, int | float) or type(value).__name__ == "Decimal"
            for value in column
        )
        for column in zip(*(row.values() for row in rows), strict=True)
    ]

    def line(values: list[str]) -> str:
        parts = [
            value.rjust(width) if number else value.ljust(width)
            for value, width, number in zip(values, widths, right, strict=True)
        ]
        return " | ".join(parts).rstrip() + "\n"

    return (
        line(names) + "-+-".join("-" * width for width in widths) + "\n" + "".join(line(row) for row in cells)
    )


async def test_what_is_printed_is_what_one_gets(
    connection: asyncpg.Connection, database_url: str, settings: Settings
) -> None:
    text = DOCUMENT.read_text()
    examples = _EXAMPLE.findall(text)
    assert len(examples) >= 10
    assert text.count("```sql") == len(examples), "a statement without its output"
    await bi.demo_building(connection, database_url, settings)
    answers: list[str] = []
    try:
        async with (
            bi.login(connection, "default") as name,
            bi.logged_in(connection, database_url, name, really=bi.on_native()) as session,
        ):
            await session.execute("SET search_path = bi")
            await session.execute("SET TimeZone = 'UTC'")
            answers = [printed(await session.fetch(statement)) for statement, _ in examples]
            await session.execute("RESET TimeZone")
            await session.execute("RESET search_path")
    finally:
        await bi.forget_organizations(connection)
    if os.environ.get("OCCUPANCY_WRITE_DOCS"):
        left = iter(answers)
        DOCUMENT.write_text(
            _EXAMPLE.sub(lambda found: f"```sql\n{found[1]}```\n\n```text\n{next(left)}```", text)
        )
        return
    for (statement, output), answer in zip(examples, answers, strict=True):
        assert output == answer, statement


async def test_every_view_column_and_function_is_described(connection: asyncpg.Connection) -> None:
    text = DOCUMENT.read_text()
    rows: list[Any] = await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'bi'"
    )
    described = dict(re.findall(r"^\| `([\w`, ]+)` \|(.*)$", text, re.MULTILINE))
    for row in rows:
        cells = [cell for views, cell in described.items() if row["table_name"] in re.split(r"\W+", views)]
        assert cells, f"{row['table_name']} is in no table"
        assert f"`{row['column_name']}`" in cells[0], tuple(row)
    for file in (schema.sql_directory() / "functions" / "bi").glob("*.sql"):
        assert f"`{file.stem}(" in text, file.stem
