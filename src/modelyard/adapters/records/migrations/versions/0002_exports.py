"""Exports of runs: a table that only grows."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, then guard it."""
    op.create_table(
        "exports",
        sa.Column("seq", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("digest", "name", "run_id")),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_exports"),
        sa.UniqueConstraint("digest", name="uq_exports_digest"),
    )
    op.create_index("ix_exports_name_created_ms", "exports", ["name", "created_ms"])
    op.create_index("ix_exports_run_id_created_ms", "exports", ["run_id", "created_ms"])
    if op.get_bind().dialect.name == "postgresql":
        refuse = "EXECUTE FUNCTION modelyard_refuse('exports only grows')"
        op.execute(f"CREATE TRIGGER exports_only_grows BEFORE UPDATE OR DELETE ON exports FOR EACH ROW {refuse}")
        op.execute(f"CREATE TRIGGER exports_no_truncate BEFORE TRUNCATE ON exports FOR EACH STATEMENT {refuse}")
        return
    refuse = "BEGIN SELECT RAISE(ABORT, 'exports only grows'); END"
    op.execute(f"CREATE TRIGGER exports_no_update BEFORE UPDATE ON exports {refuse}")
    op.execute(f"CREATE TRIGGER exports_no_delete BEFORE DELETE ON exports {refuse}")
    there = "EXISTS (SELECT 1 FROM exports WHERE digest = NEW.digest OR seq = NEW.seq)"
    op.execute(f"CREATE TRIGGER exports_no_replace BEFORE INSERT ON exports WHEN {there} {refuse}")
