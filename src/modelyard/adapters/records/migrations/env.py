"""Alembic's way in: it works on the connection it is handed, inside the transaction already begun there."""

from alembic import context

from modelyard.adapters.records.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
