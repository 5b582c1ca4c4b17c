"""Interactions and feedback, and how far each journal segment was ingested."""

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    RowMapping,
    Table,
    and_,
    case,
    delete,
    func,
    or_,
    select,
    tuple_,
)

from modelyard.adapters.records.connections import Connections
from modelyard.adapters.records.shelf import Shelf, upsert
from modelyard.adapters.records.tables import feedback, interactions, journal_marks
from modelyard.core.errors import Corrupt, InvalidInput
from modelyard.ports.interaction import Feedback, Interaction, JournalEntry
from modelyard.ports.records import (
    InteractionQuery,
    JournalMark,
    ReviewedInteraction,
    ScoredInteraction,
    Usage,
    UsageBy,
)

_UNKNOWN = -1.0
_SUMMED = ("prompt_tokens", "completion_tokens", "cost_nanousd", "saved_nanousd")
_COPIED = ("tenant", "key_id", "user", "session", "release", "status", *_SUMMED)
_TELLER = "telemetry:"
_PAGE_ROWS = 200
_NEWEST_FIRST = (interactions.c.at_ms.desc(), interactions.c.id.desc())


class SqlInteractions:
    """The `interactions`, `feedback` and `journal_marks` tables."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._shelf = Shelf(connections, interactions, Interaction, noun="interaction")
        self._feedback = Shelf(connections, feedback, Feedback, noun="feedback")

    def ingest(self, entries: Sequence[JournalEntry], mark: JournalMark) -> int:
        """Store entries and the mark at once; return how many were new. A mark behind the stored one is passed over."""
        said = [_interaction_row(entry) for entry in entries if isinstance(entry, Interaction)]
        judged = [_feedback_row(entry) for entry in entries if isinstance(entry, Feedback)]
        with self._connections.write() as connection:
            new = _insert(connection, interactions, said) + _insert(connection, feedback, judged)
            _move_mark(connection, mark)
        return new

    def mark(self, segment: str) -> int:
        """The offset up to which a segment was ingested."""
        query = select(journal_marks.c.num_bytes).where(journal_marks.c.segment == segment)
        with self._connections.read() as connection:
            return connection.scalar(query) or 0

    def get(self, id: str) -> Interaction:
        """The interaction of an answer id."""
        return self._shelf.get(id)

    def feedback(self, interaction_id: str) -> list[Feedback]:
        """The feedback on an interaction, oldest first."""
        of_interaction = feedback.c.interaction_id == interaction_id
        return self._feedback.pick(of_interaction, order=(feedback.c.at_ms, feedback.c.id))

    def newest(self, service: str | None = None, *, limit: int = 100) -> list[Interaction]:
        """The last interactions, or those of a service."""
        where = () if service is None else (interactions.c.service == service,)
        return self._shelf.pick(*where, order=_NEWEST_FIRST, limit=limit)

    def find(self, query: InteractionQuery, *, limit: int = 100) -> list[Interaction]:
        """The last interactions that match."""
        return self._shelf.pick(*_matching(query), order=_NEWEST_FIRST, limit=limit)

    def usage(self, by: UsageBy, query: InteractionQuery) -> list[Usage]:
        """The totals of what matches, shadows left out, dearest first. Sums are those of integers: exact."""
        key = interactions.c[_USAGE_COLUMNS[by]].label("key")
        sums = [func.sum(interactions.c[name]).label(name) for name in _SUMMED]
        failed = func.sum(case((interactions.c.status >= 400, 1), else_=0)).label("failures")
        where = (*_matching(query), interactions.c.shadow_of == "")
        grouped = select(key, func.count().label("requests"), failed, *sums).where(*where).group_by(key)
        with self._connections.read() as connection:
            found = [_usage(row._mapping) for row in connection.execute(grouped)]
        return sorted(found, key=lambda one: (-one.cost_nanousd, -one.requests, one.key))

    def scored(self, service: str, *, since_ms: int, rollout_id: str, metric: str) -> Iterable[ScoredInteraction]:
        """The interactions of a rollout with their scores, oldest first.

        Feedback that says neither a score nor the right answer is passed over. An answer whose hash was not kept, or
        that failed, cannot be compared: its score is unknown, and what it counts for is the caller's to say.
        """
        with self._connections.read() as connection:
            rows = connection.execute(_scored_query(service, since_ms, rollout_id, metric))
            return [_scored(row.payload, row.score, row.own_hash, row.twin_hash) for row in rows]

    def between(self, service: str, *, since_ms: int, until_ms: int) -> Iterator[ReviewedInteraction]:
        """The interactions of a window with their feedback, oldest first, a page at a time."""
        behind = (since_ms, "")
        while page := self._page(service, behind, until_ms):
            yield from page
            last = page[-1].interaction
            behind = (last.at_ms, last.id)

    def _page(self, service: str, behind: tuple[int, str], until_ms: int) -> list[ReviewedInteraction]:
        place = tuple_(interactions.c.at_ms, interactions.c.id)
        found = self._shelf.pick(
            interactions.c.service == service,
            interactions.c.at_ms >= behind[0],  # older PostgreSQL takes no bound for its index from the pair
            place > behind,
            interactions.c.at_ms < until_ms,
            order=(interactions.c.at_ms, interactions.c.id),
            limit=_PAGE_ROWS,
        )
        said = self._feedback_on({id for one in found for id in (one.id, one.shadow_of) if id})
        return [
            ReviewedInteraction(interaction=one, feedback=tuple(said.get(one.shadow_of, []) + said.get(one.id, [])))
            for one in found
        ]

    def _feedback_on(self, ids: set[str]) -> dict[str, list[Feedback]]:
        """The feedback on some interactions, that on each oldest first."""
        said: dict[str, list[Feedback]] = {}
        of_any = feedback.c.interaction_id.in_(sorted(ids))
        for one in self._feedback.pick(of_any, order=(feedback.c.at_ms, feedback.c.id)):
            said.setdefault(one.interaction_id, []).append(one)
        return said

    def count(self, service: str | None = None) -> int:
        """How many interactions there are, or a service has."""
        query = select(func.count()).select_from(interactions)
        if service is not None:
            query = query.where(interactions.c.service == service)
        with self._connections.read() as connection:
            return connection.scalar(query) or 0

    def ingested(self) -> int:
        """How many journal bytes were ingested, over all segments: entries and mark are stored together."""
        of_journal = journal_marks.c.segment.not_like(f"{_TELLER}%")
        with self._connections.read() as connection:
            return int(connection.scalar(select(func.sum(journal_marks.c.num_bytes)).where(of_journal)) or 0)

    def forget_marks(self, segment: str) -> None:
        """Drop the marks of a segment that is gone. Its bytes still count as ingested: they move to a mark of none."""
        with self._connections.write() as connection:
            gone = delete(journal_marks).where(journal_marks.c.segment == segment)
            num_bytes = connection.scalar(gone.returning(journal_marks.c.num_bytes)) or 0
            connection.execute(delete(journal_marks).where(journal_marks.c.segment == _TELLER + segment))
            total = upsert(connection, journal_marks).values(segment="", num_bytes=num_bytes)
            sum_up = {"num_bytes": journal_marks.c.num_bytes + num_bytes}
            connection.execute(total.on_conflict_do_update(index_elements=["segment"], set_=sum_up))

    def told(self, segment: str) -> int:
        """The offset up to which a segment was told to the telemetry."""
        return self.mark(_TELLER + segment)

    def move_told(self, mark: JournalMark) -> None:
        """Say how far a segment was told."""
        self.ingest([], JournalMark(segment=_TELLER + mark.segment, offset=mark.offset))


def _interaction_row(entry: Interaction) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at_ms": entry.at_ms,
        "service": entry.service,
        "rollout_id": entry.rollout_id,
        "shadow_of": entry.shadow_of,
        "trace_id": _trace(entry.trace_id),
        **{name: getattr(entry, name) for name in _COPIED},
        "payload": _encode(entry),
    }


_USAGE_COLUMNS: dict[UsageBy, str] = {
    "tenant": "tenant",
    "key": "key_id",
    "service": "service",
    "release": "release",
    "user": "user",
}


def _matching(query: InteractionQuery) -> list[ColumnElement[bool]]:
    """The conditions that a query sets; an empty field sets none."""
    columns = interactions.c
    texts = {
        columns.service: query.service,
        columns.tenant: query.tenant,
        columns.key_id: query.key_id,
        columns.session: query.session,
        columns.release: query.release,
        columns.trace_id: _trace(query.trace),
    }
    where: list[ColumnElement[bool]] = [column == value for column, value in texts.items() if value]
    if query.ids:
        where.append(columns.id.in_(query.ids))
    if query.statuses:
        low, high = query.statuses
        where.append(and_(columns.status >= low, columns.status <= high))
    if query.since_ms:
        where.append(columns.at_ms >= query.since_ms)
    return where


def _trace(text: str) -> str:
    """The trace of `TRACE` or `TRACE-SPAN`."""
    return text.partition("-")[0]


def _usage(row: RowMapping) -> Usage:
    numbers = {name: int(row[name]) for name in ("requests", "failures", *_SUMMED)}
    return Usage(key=row["key"], **numbers)


def _feedback_row(entry: Feedback) -> dict[str, Any]:
    return {
        "id": entry.id,
        "interaction_id": entry.interaction_id,
        "metric": entry.metric,
        "at_ms": entry.at_ms,
        "score": entry.score,
        "expected_hash": entry.expected_hash,
        "payload": _encode(entry),
    }


def _encode(entry: JournalEntry) -> str:
    try:
        return msgspec.json.encode(entry).decode()
    except (OverflowError, UnicodeEncodeError) as error:
        raise InvalidInput(f"an entry does not survive being written as JSON: {error}") from error


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> int:
    """Insert the rows that are not there yet and say how many those were."""
    if not rows:
        return 0
    # In one order everywhere, or two ingesters that hold the same rows could wait for each other.
    rows.sort(key=itemgetter("id"))
    return connection.execute(upsert(connection, table).on_conflict_do_nothing(), rows).rowcount


def _move_mark(connection: Connection, mark: JournalMark) -> None:
    insert = upsert(connection, journal_marks).values(segment=mark.segment, num_bytes=mark.offset)
    forward = journal_marks.c.num_bytes < mark.offset
    connection.execute(
        insert.on_conflict_do_update(index_elements=["segment"], set_={"num_bytes": mark.offset}, where=forward)
    )


def _scored_query(service: str, since_ms: int, rollout_id: str, metric: str) -> Any:
    """Each interaction once, beside the newest feedback on it and on the interaction that it shadows."""
    own, twin = feedback.alias("own"), feedback.alias("twin")
    says_score = or_(feedback.c.score >= 0, feedback.c.expected_hash != "")
    says_answer = feedback.c.expected_hash != ""
    joined: FromClause = interactions.outerjoin(own, own.c.id == _newest(interactions.c.id, metric, says_score))
    shadows = interactions.c.shadow_of != ""
    newest_answer = _newest(interactions.c.shadow_of, metric, says_answer)
    joined = joined.outerjoin(twin, and_(shadows, twin.c.id == newest_answer))
    in_rollout = [interactions.c.rollout_id == rollout_id]
    if rollout_id:
        in_rollout.append(interactions.c.rollout_id != "")  # lets both databases use the partial index
    return (
        select(
            interactions.c.payload,
            own.c.score,
            own.c.expected_hash.label("own_hash"),
            twin.c.expected_hash.label("twin_hash"),
        )
        .select_from(joined)
        .where(interactions.c.service == service, interactions.c.at_ms >= since_ms, *in_rollout)
        .order_by(interactions.c.at_ms, interactions.c.id)
    )


def _newest(interaction_id: ColumnElement[str], metric: str, says: ColumnElement[bool]) -> Any:
    """The id of the newest feedback on an interaction that says something of a metric."""
    return (
        select(feedback.c.id)
        .where(feedback.c.interaction_id == interaction_id, feedback.c.metric == metric, says)
        .order_by(feedback.c.at_ms.desc(), feedback.c.id.desc())
        .limit(1)
        .correlate(interactions)
        .scalar_subquery()
    )


def _scored(payload: str, score: float | None, own_hash: str | None, twin_hash: str | None) -> ScoredInteraction:
    try:
        interaction = msgspec.json.decode(payload, type=Interaction)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"an interaction in the records cannot be read: {error}") from error
    if score is not None and score >= 0:
        return ScoredInteraction(interaction=interaction, score=score)
    expected = own_hash or twin_hash
    if not expected or not interaction.answer_hash:
        return ScoredInteraction(interaction=interaction, score=_UNKNOWN)
    return ScoredInteraction(interaction=interaction, score=float(interaction.answer_hash == expected))
