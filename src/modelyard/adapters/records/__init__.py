"""The records on SQLAlchemy: SQLite for one machine, PostgreSQL beyond. `store.open_records` is the door."""
