"""Spaces, doorways, DPUs, placements; crossings and their aggregates; horizon and stale marks.

Revision ID: 0001
Revises:
"""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything, from the text frozen beside this file."""
    script = Path(__file__).with_suffix(".sql").read_text()
    # The driver's own connection: a script of many statements cannot be prepared.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))
