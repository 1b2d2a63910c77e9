"""The table in docs/settings.md says what the service does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from occupancy.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def documented() -> list[tuple[str, str]]:
    """Name and default of each row, in their order."""
    return re.findall(r"^\| `(OCCUPANCY_\w+)` \| (none|`[^`]*`) \| \S.* \|$", PAGE.read_text(), re.MULTILINE)


def test_every_setting_has_one_row_in_the_order_of_the_fields() -> None:
    fields = [f"OCCUPANCY_{field}".upper() for field in Settings.model_fields]
    assert [name for name, _ in documented()] == fields


@pytest.mark.parametrize("field", Settings.model_fields)
def test_the_default_in_the_table_is_the_default(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"OCCUPANCY_{field}".upper()
    for other in Settings.model_fields:
        monkeypatch.delenv(f"OCCUPANCY_{other}".upper(), raising=False)
    default = getattr(Settings(), field)
    written = dict(documented())[name]
    if written == "none":
        assert default is None
        return
    # What is written can be set as it stands, and is then what it was anyway.
    monkeypatch.setenv(name, written.strip("`"))
    assert getattr(Settings(), field) == default
    assert default is not None
