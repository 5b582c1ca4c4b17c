"""The tables: each holds whole values as JSON in `payload`, beside the columns that queries need.

The stage of a release is not a column: it is what its newest move says, so it cannot disagree with them.
`datasets`, `exports`, `releases`, `stage_moves`, `reports`, `verdicts`, `approvals` and `route_tables` only grow; the
migrations put triggers on them that say so. Of a `datasets` row, `created_ms` alone may change: to when it was last
made. A `runs` row changes until its run has finished.
"""

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, Table, Text
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy import text as literal_text

HEAD = "0003"
VERSION_TABLE = "modelyard_version"

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _column(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _said(name: str) -> Column[str]:
    """A text column that came later: rows that were there have it filled in by the migration."""
    return Column(name, Text, nullable=False, server_default=literal_text("''"))


def _summed(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _key(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True, nullable=False)


# `seq` is the order of arrival: it tells two values of one millisecond apart.
datasets = Table(
    "datasets",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    _column("name"),
    _count("created_ms"),
    _column("payload"),
    Index(None, "name", "created_ms"),
)

runs = Table(
    "runs",
    metadata,
    _key("id"),
    _column("name"),
    _column("state"),
    _count("started_ms"),
    _column("payload"),
    Index(None, "name", "started_ms"),
)

exports = Table(
    "exports",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    _column("name"),
    _column("run_id"),
    _count("created_ms"),
    _column("payload"),
    Index(None, "name", "created_ms"),
    Index(None, "run_id", "created_ms"),
)

releases = Table(
    "releases",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    _column("name"),
    _count("created_ms"),
    _column("payload"),
    Index(None, "name", "created_ms"),
)

stage_moves = Table(
    "stage_moves",
    metadata,
    _key("id"),
    Column("release", Text, ForeignKey("releases.digest"), nullable=False),
    Column("number", Integer, nullable=False),
    _column("to_stage"),
    _column("payload"),
    Unique("release", "number"),
)

reports = Table(
    "reports",
    metadata,
    _key("id"),
    _column("release"),
    _count("created_ms"),
    _column("payload"),
    Index(None, "release", "created_ms"),
)

verdicts = Table(
    "verdicts",
    metadata,
    _key("id"),
    _column("release"),
    Column("passed", Boolean, nullable=False),
    _count("created_ms"),
    _column("payload"),
    Index(None, "release", "created_ms"),
)

approvals = Table(
    "approvals",
    metadata,
    _key("id"),
    Column("verdict_id", Text, ForeignKey("verdicts.id"), nullable=False),
    _column("decision"),
    _count("at_ms"),
    _column("payload"),
    Index(None, "verdict_id", "at_ms"),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    _column("service"),
    _column("state"),
    Column("num_events", Integer, nullable=False),
    _column("payload"),
    Index(None, "service", "seq"),
)
_running = rollouts.c.state == "running"
Index("uq_rollouts_running", rollouts.c.service, unique=True, sqlite_where=_running, postgresql_where=_running)

route_tables = Table(
    "route_tables",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False, nullable=False),
    _count("created_ms"),
    _column("payload"),
)

keys = Table(
    "keys",
    metadata,
    _key("id"),
    Column("hash", Text, nullable=False, unique=True),
    _column("payload"),
)

interactions = Table(
    "interactions",
    metadata,
    _key("id"),
    _count("at_ms"),
    _column("service"),
    _column("rollout_id"),
    _column("shadow_of"),
    _said("tenant"),
    _said("key_id"),
    _said("user"),
    _said("session"),
    _said("trace_id"),
    _said("release"),
    _summed("status"),
    _summed("prompt_tokens"),
    _summed("completion_tokens"),
    _summed("cost_nanousd"),
    _summed("saved_nanousd"),
    _column("payload"),
    Index(None, "at_ms"),
    Index(None, "service", "at_ms"),
    Index(None, "tenant", "at_ms"),
)
for _name in ("session", "trace_id"):
    _given = interactions.c[_name] != ""
    Index(f"ix_interactions_{_name}", interactions.c[_name], sqlite_where=_given, postgresql_where=_given)
_in_rollout = interactions.c.rollout_id != ""
Index(
    "ix_interactions_rollout_id_at_ms",
    interactions.c.rollout_id,
    interactions.c.at_ms,
    sqlite_where=_in_rollout,
    postgresql_where=_in_rollout,
)

# No foreign key to the interaction: feedback may be ingested before it, from another gateway's journal.
feedback = Table(
    "feedback",
    metadata,
    _key("id"),
    _column("interaction_id"),
    _column("metric"),
    _count("at_ms"),
    Column("score", Float(53), nullable=False),
    _column("expected_hash"),
    _column("payload"),
    Index(None, "interaction_id", "metric", "at_ms"),
)

journal_marks = Table("journal_marks", metadata, _key("segment"), _count("num_bytes"))
