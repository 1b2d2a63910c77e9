"""What ingest at size needs: offsets of Kafka, what DPUs say of themselves, answers kept for retries, the columnstore.

Revision ID: 0003
Revises: 0002
"""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run the text frozen beside this file."""
    script = Path(__file__).with_suffix(".sql").read_text()
    # The driver's own connection: a script of many statements cannot be prepared.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))
