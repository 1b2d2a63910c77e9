"""Aggregates hold how the net ran, for series: its integral, its extremes and its first value.

Continuous aggregates cannot be altered, so they are made anew and filled again, oldest part first, by the refreshes
after this revision. Counts stay exact meanwhile, but read single crossings.

Revision ID: 0002
Revises: 0001
"""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the aggregates anew, from the text frozen beside this file."""
    script = Path(__file__).with_suffix(".sql").read_text()
    # The driver's own connection: a script of many statements cannot be prepared.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))
