"""Runs the revisions on the connection that `occupancy.schema.migrate` opened."""

from alembic import context

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("revisions are applied by `occupancy migrate`, which opens the connection")

context.configure(connection=connection, version_table_schema="occupancy", transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
