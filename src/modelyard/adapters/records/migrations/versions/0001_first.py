"""The first tables, and the triggers that keep what was decided from being rewritten."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The tables that only grow, each with what makes a new row the same as an old one.
GROWING = {
    "datasets": "digest = NEW.digest OR seq = NEW.seq",
    "releases": "digest = NEW.digest OR seq = NEW.seq",
    "stage_moves": "id = NEW.id OR (release = NEW.release AND number = NEW.number)",
    "reports": "id = NEW.id",
    "verdicts": "id = NEW.id",
    "approvals": "id = NEW.id",
    "route_tables": "version = NEW.version",
}
# A dataset that is made again is the newest of its name from then on: of its columns, `created_ms` may change.
UPDATES = {"datasets": "UPDATE OF seq, digest, name, payload"}


def upgrade() -> None:
    """Make the tables, then guard them."""
    _make_built_things()
    _make_decisions()
    _make_rollouts()
    _make_interactions()
    if op.get_bind().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _make_built_things() -> None:
    for table in ("datasets", "releases"):
        op.create_table(
            table,
            sa.Column("seq", sa.Integer(), nullable=False),
            _text("digest"),
            _text("name"),
            _count("created_ms"),
            _text("payload"),
            sa.PrimaryKeyConstraint("seq", name=f"pk_{table}"),
            sa.UniqueConstraint("digest", name=f"uq_{table}_digest"),
        )
        op.create_index(f"ix_{table}_name_created_ms", table, ["name", "created_ms"])
    op.create_table(
        "runs",
        _text("id"),
        _text("name"),
        _text("state"),
        _count("started_ms"),
        _text("payload"),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_index("ix_runs_name_started_ms", "runs", ["name", "started_ms"])


def _make_decisions() -> None:
    op.create_table(
        "stage_moves",
        _text("id"),
        _text("release"),
        sa.Column("number", sa.Integer(), nullable=False),
        _text("to_stage"),
        _text("payload"),
        sa.PrimaryKeyConstraint("id", name="pk_stage_moves"),
        sa.ForeignKeyConstraint(["release"], ["releases.digest"], name="fk_stage_moves_release"),
        sa.UniqueConstraint("release", "number", name="uq_stage_moves_release_number"),
    )
    op.create_table(
        "reports",
        _text("id"),
        _text("release"),
        _count("created_ms"),
        _text("payload"),
        sa.PrimaryKeyConstraint("id", name="pk_reports"),
    )
    op.create_index("ix_reports_release_created_ms", "reports", ["release", "created_ms"])
    op.create_table(
        "verdicts",
        _text("id"),
        _text("release"),
        sa.Column("passed", sa.Boolean(), nullable=False),
        _count("created_ms"),
        _text("payload"),
        sa.PrimaryKeyConstraint("id", name="pk_verdicts"),
    )
    op.create_index("ix_verdicts_release_created_ms", "verdicts", ["release", "created_ms"])
    op.create_table(
        "approvals",
        _text("id"),
        _text("verdict_id"),
        _text("decision"),
        _count("at_ms"),
        _text("payload"),
        sa.PrimaryKeyConstraint("id", name="pk_approvals"),
        sa.ForeignKeyConstraint(["verdict_id"], ["verdicts.id"], name="fk_approvals_verdict_id"),
    )
    op.create_index("ix_approvals_verdict_id_at_ms", "approvals", ["verdict_id", "at_ms"])


def _make_rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("seq", sa.Integer(), nullable=False),
        _text("id"),
        _text("service"),
        _text("state"),
        sa.Column("num_events", sa.Integer(), nullable=False),
        _text("payload"),
        sa.PrimaryKeyConstraint("seq", name="pk_rollouts"),
        sa.UniqueConstraint("id", name="uq_rollouts_id"),
    )
    op.create_index("ix_rollouts_service_seq", "rollouts", ["service", "seq"])
    running = sa.text("state = 'running'")
    op.create_index(
        "uq_rollouts_running", "rollouts", ["service"], unique=True, sqlite_where=running, postgresql_where=running
    )
    op.create_table(
        "route_tables",
        _count("version"),
        _count("created_ms"),
        _text("payload"),
        sa.PrimaryKeyConstraint("version", name="pk_route_tables"),
    )
    op.create_table(
        "keys",
        _text("id"),
        _text("hash"),
        _text("payload"),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.UniqueConstraint("hash", name="uq_keys_hash"),
    )


def _make_interactions() -> None:
    op.create_table(
        "interactions",
        _text("id"),
        _count("at_ms"),
        _text("service"),
        _text("rollout_id"),
        _text("shadow_of"),
        _text("payload"),
        sa.PrimaryKeyConstraint("id", name="pk_interactions"),
    )
    op.create_index("ix_interactions_at_ms", "interactions", ["at_ms"])
    op.create_index("ix_interactions_service_at_ms", "interactions", ["service", "at_ms"])
    in_rollout = sa.text("rollout_id <> ''")
    op.create_index(
        "ix_interactions_rollout_id_at_ms",
        "interactions",
        ["rollout_id", "at_ms"],
        sqlite_where=in_rollout,
        postgresql_where=in_rollout,
    )
    op.create_table(
        "feedback",
        _text("id"),
        _text("interaction_id"),
        _text("metric"),
        _count("at_ms"),
        sa.Column("score", sa.Float(53), nullable=False),
        _text("expected_hash"),
        _text("payload"),
        sa.PrimaryKeyConstraint("id", name="pk_feedback"),
    )
    op.create_index("ix_feedback_interaction_id_metric_at_ms", "feedback", ["interaction_id", "metric", "at_ms"])
    op.create_table(
        "journal_marks",
        _text("segment"),
        _count("num_bytes"),
        sa.PrimaryKeyConstraint("segment", name="pk_journal_marks"),
    )


def _guard_sqlite() -> None:
    for table, same in GROWING.items():
        refuse = f"BEGIN SELECT RAISE(ABORT, '{table} only grows'); END"
        op.execute(f"CREATE TRIGGER {table}_no_update BEFORE {UPDATES.get(table, 'UPDATE')} ON {table} {refuse}")
        op.execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse}")
        # INSERT OR REPLACE deletes without asking the trigger above.
        there = f"EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608  all from this file
        op.execute(f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {there} {refuse}")
    refuse = "BEGIN SELECT RAISE(ABORT, 'a finished run never changes'); END"
    op.execute(f"CREATE TRIGGER runs_no_update BEFORE UPDATE ON runs WHEN OLD.state = 'finished' {refuse}")
    op.execute(f"CREATE TRIGGER runs_no_delete BEFORE DELETE ON runs {refuse}")
    there = "EXISTS (SELECT 1 FROM runs WHERE id = NEW.id)"
    op.execute(f"CREATE TRIGGER runs_no_replace BEFORE INSERT ON runs WHEN {there} {refuse}")


def _guard_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION modelyard_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    for table in GROWING:
        refuse = f"EXECUTE FUNCTION modelyard_refuse('{table} only grows')"
        changes = f"{UPDATES.get(table, 'UPDATE')} OR DELETE"
        op.execute(f"CREATE TRIGGER {table}_only_grows BEFORE {changes} ON {table} FOR EACH ROW {refuse}")
        op.execute(f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {refuse}")
    refuse = "EXECUTE FUNCTION modelyard_refuse('a finished run never changes')"
    op.execute(
        f"CREATE TRIGGER runs_no_update BEFORE UPDATE ON runs FOR EACH ROW WHEN (OLD.state = 'finished') {refuse}"
    )
    op.execute(f"CREATE TRIGGER runs_no_delete BEFORE DELETE ON runs FOR EACH ROW {refuse}")
    op.execute(f"CREATE TRIGGER runs_no_truncate BEFORE TRUNCATE ON runs FOR EACH STATEMENT {refuse}")
