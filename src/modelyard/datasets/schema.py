"""The columns of a dataset's Parquet files, and the ways between them, the rows of a block, and examples.

A conversation is a list of turns; those of the prompt come first, the last one is the answer to learn. In a preference
pair `rejected` holds the worse answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelyard.datasets.rows import ANSWER, PROMPT, REJECTED, ROLES, Codes, Rows
from modelyard.datasets.texts import Ints, Texts
from modelyard.ports.dataset import Example, Message

_EXTRAS = ("name", "tool_calls", "tool_call_id")
TURN = pa.struct([("role", pa.string()), ("content", pa.large_string()), *((name, pa.string()) for name in _EXTRAS)])
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("messages", pa.list_(TURN)),
        ("rejected", pa.list_(TURN)),
        ("desirable", pa.bool_()),
        ("tools", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("meta", pa.string()),
        ("source", pa.string()),
        ("line", pa.int64()),
        ("digest", pa.binary(32)),
    ]
)
_ID_CHARS = 16


def rows_table(rows: Rows, *, source: str, digests: bytes) -> pa.Table:
    """Rows as a table of `SCHEMA`. `digests` has 32 bytes a row; a row without an id is called by its beginning."""
    is_worse = rows.parts == REJECTED
    columns: dict[str, Any] = {
        "id": _ids(rows, digests),
        "messages": _lists(rows, ~is_worse),
        "rejected": _lists(rows, is_worse) if is_worse.any() else None,
        "desirable": rows.desirable,
        "tools": [rows.tools.get(row) for row in range(len(rows))] if rows.tools else None,
        "label": rows.labels,
        "group": rows.groups,
        "meta": rows.meta,
        "source": pa.repeat(pa.scalar(source, pa.string()), len(rows)),
        "line": rows.line,
        "digest": pa.Array.from_buffers(pa.binary(32), len(rows), [None, pa.py_buffer(digests)]),
    }
    arrays = [_array(columns[field.name], field.type, len(rows)) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def rows_of(table: pa.Table) -> Rows:
    """The rows of a table of `SCHEMA`. Each has an id, also one that was called by its digest."""
    told = _turns(table["messages"], answer=ANSWER)
    worse = _turns(table["rejected"], answer=REJECTED)
    turns = told if not len(worse.parts) else _together(told, worse)
    return Rows(
        line=table["line"].to_numpy(),
        turns=turns.texts,
        roles=turns.roles,
        parts=turns.parts,
        bounds=np.concatenate([[0], np.cumsum(np.bincount(turns.rows, minlength=len(table)))]).astype(np.int64),
        ids=table["id"].to_pylist(),
        groups=_values(table["group"]),
        labels=_values(table["label"]),
        desirable=_values(table["desirable"]),
        meta=_values(table["meta"]),
        extras=turns.extras,
        tools={row: text for row, text in enumerate(_values(table["tools"]) or ()) if text is not None},
    )


def examples(table: pa.Table) -> list[Example]:
    """The rows of a table of `SCHEMA` as values."""
    return [
        Example(
            id=row["id"],
            messages=_messages(row["messages"]),
            source=row["source"],
            line=row["line"],
            rejected=_messages(row["rejected"] or ()),
            desirable=row["desirable"],
            tools=row["tools"] or "",
            label=row["label"],
            meta=row["meta"] or "",
        )
        for row in table.drop_columns(["digest"]).to_pylist()
    ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Turns:
    """Turns of many rows. Shapes: texts, roles, parts, rows (turns,); `rows` is the row of each."""

    texts: Texts
    roles: Codes
    parts: Codes
    rows: Ints
    extras: Mapping[int, str]


def _ids(rows: Rows, digests: bytes) -> list[str]:
    names = digests.hex()
    return [names[64 * row : 64 * row + _ID_CHARS] if id is None else id for row, id in enumerate(rows.ids)]


def _array(values: Any, kind: pa.DataType, num_rows: int) -> pa.Array:
    if values is None:
        return pa.nulls(num_rows, kind)
    return values if isinstance(values, pa.Array) else pa.array(values, kind)


def _values(column: pa.ChunkedArray) -> list[Any] | None:
    return None if column.null_count == len(column) else column.to_pylist()


def _lists(rows: Rows, chosen: npt.NDArray[np.bool_]) -> pa.ListArray:
    """The chosen turns of each row; null where a row has none."""
    sizes = np.bincount(rows.row_of_turn[chosen], minlength=len(rows))
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    fields = [
        pa.array(ROLES, pa.string()).take(pa.array(rows.roles[chosen])),
        rows.turns.take(chosen).to_arrow(),
        *_extras(rows.extras, chosen),
    ]
    turns = pa.StructArray.from_arrays(fields, fields=list(TURN))
    is_null = sizes == 0
    mask = pa.array(is_null) if is_null.any() else None
    return pa.ListArray.from_arrays(pa.array(bounds), turns, pa.list_(TURN), mask=mask)


def _extras(extras: Mapping[int, str], chosen: npt.NDArray[np.bool_]) -> list[pa.Array]:
    if not extras:
        return [pa.nulls(int(chosen.sum()), pa.string()) for _ in _EXTRAS]
    known = {turn: msgspec.json.decode(text, type=dict[str, str]) for turn, text in extras.items()}
    blank: dict[str, str] = {}
    turns = np.flatnonzero(chosen).tolist()
    return [pa.array([known.get(turn, blank).get(name) for turn in turns], pa.string()) for name in _EXTRAS]


def _turns(column: pa.ChunkedArray, *, answer: int) -> _Turns:
    """The turns of a column. The last one of each row is its answer, those before are its prompt."""
    lists = column.combine_chunks()
    if isinstance(lists, pa.ChunkedArray):
        lists = pa.concat_arrays(lists.chunks) if lists.num_chunks else pa.array([], column.type)
    sizes = pc.fill_null(lists.value_lengths(), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    turns = lists.flatten()
    parts = np.full(len(turns), PROMPT if answer == ANSWER else answer, np.uint8)
    parts[(np.cumsum(sizes) - 1)[sizes > 0]] = answer
    roles = pc.index_in(turns.field("role"), pa.array(ROLES, pa.string()))
    return _Turns(
        texts=Texts.from_arrow(turns.field("content")),
        roles=roles.to_numpy(zero_copy_only=False).astype(np.uint8),
        parts=parts,
        rows=np.repeat(np.arange(len(sizes)), sizes),
        extras=_extras_of(turns),
    )


def _extras_of(turns: pa.StructArray) -> dict[int, str]:
    columns = [turns.field(name) for name in _EXTRAS]
    if all(column.null_count == len(column) for column in columns):
        return {}
    extras = {}
    for turn, values in enumerate(zip(*(column.to_pylist() for column in columns), strict=True)):
        told = {name: value for name, value in zip(_EXTRAS, values, strict=True) if value is not None}
        if told:
            extras[turn] = msgspec.json.encode(told).decode()
    return extras


def _together(told: _Turns, worse: _Turns) -> _Turns:
    """The turns of each row behind one another: the better answer's, then the worse one's."""
    rows = np.concatenate([told.rows, worse.rows])
    order = np.argsort(rows, kind="stable")
    place = np.argsort(order)
    shift = len(told.rows)
    extras = {int(place[turn]): text for turn, text in told.extras.items()}
    extras.update({int(place[turn + shift]): text for turn, text in worse.extras.items()})
    return _Turns(
        texts=Texts.concatenated([told.texts, worse.texts]).take(order),
        roles=np.concatenate([told.roles, worse.roles])[order],
        parts=np.concatenate([told.parts, worse.parts])[order],
        rows=rows[order],
        extras=extras,
    )


def _messages(turns: Any) -> tuple[Message, ...]:
    return tuple(Message(**{name: value for name, value in turn.items() if value is not None}) for turn in turns)
