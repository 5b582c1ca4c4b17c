"""Interactions found by tenant, session and trace, and summed by whom they were for."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TEXTS = ("tenant", "key_id", "user", "session", "trace_id", "release")
_NUMBERS = ("status", "prompt_tokens", "completion_tokens", "cost_nanousd", "saved_nanousd")
_PAGE_ROWS = 1000
# What a payload that leaves a field out means by that.
_DEFAULTS: dict[str, Any] = {**dict.fromkeys(_TEXTS, ""), **dict.fromkeys(_NUMBERS, 0), "status": 200}


def upgrade() -> None:
    """Add the columns, fill them in from the payloads that are there, then index them."""
    for name in _TEXTS:
        op.add_column("interactions", sa.Column(name, sa.Text(), nullable=False, server_default=sa.text("''")))
    for name in _NUMBERS:
        op.add_column("interactions", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    _fill(op.get_bind())
    op.create_index("ix_interactions_tenant_at_ms", "interactions", ["tenant", "at_ms"])
    for name in ("session", "trace_id"):
        given = sa.column(name) != ""
        op.create_index(f"ix_interactions_{name}", "interactions", [name], sqlite_where=given, postgresql_where=given)


def _fill(connection: sa.Connection) -> None:
    """Page by page, so that memory is bounded."""
    table = sa.table("interactions", *(sa.column(name) for name in ("id", "payload", *_DEFAULTS)))
    page = sa.select(table.c.id, table.c.payload).order_by(table.c.id).limit(_PAGE_ROWS)
    put = (
        sa.update(table)
        .where(table.c.id == sa.bindparam("of"))
        .values({n: sa.bindparam(f"new_{n}") for n in _DEFAULTS})
    )
    last = ""
    while rows := connection.execute(page.where(table.c.id > last)).all():
        connection.execute(put, [{"of": row.id, **_values(row.payload)} for row in rows])
        last = rows[-1].id


def _values(payload: str) -> dict[str, Any]:
    fields = json.loads(payload)
    fields["trace_id"] = fields.get("trace_id", "").partition("-")[0]
    return {f"new_{name}": fields.get(name, default) for name, default in _DEFAULTS.items()}
