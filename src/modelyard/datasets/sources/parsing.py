"""A block as rows. Runs in a worker."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from modelyard.datasets.outcome import Rejection
from modelyard.datasets.sources.block import Block, Records
from modelyard.datasets.sources.csv_records import cells_of, rejected
from modelyard.datasets.sources.decoding import decode
from modelyard.datasets.sources.lines import OVERLONG
from modelyard.datasets.sources.scanning import line_places, suspicious
from modelyard.datasets.sources.strict_json import parse_object
from modelyard.datasets.texts import Ints

_fast = msgspec.json.Decoder()


def parse_block(block: Block) -> Records:
    """The rows of a block, and what could not be read of it and why."""
    records = Records(source=block.source.name, fields=[], lines=[], raws=[], rejected=[])
    _PARSERS[block.source.format](block, records)
    return records


def _parse_jsonl(block: Block, records: Records) -> None:
    data = bytes(block.payload)
    begins, ends = line_places(data)
    lines = range(block.first_line, block.first_line + len(begins))
    _parse_objects(block, data, begins, ends, list(lines), records)


def _parse_json(block: Block, records: Records) -> None:
    elements = block.payload
    if block.overlong:
        ((line, beginning),) = block.overlong
        _reject(records, line, beginning.decode("utf-8", "replace"), OVERLONG)
    _parse_objects(block, elements.data, elements.begins, elements.ends, elements.lines.tolist(), records)


def _parse_objects(block: Block, data: bytes, begins: Ints, ends: Ints, numbers: list[int], records: Records) -> None:
    """One object each. What is suspicious, or nothing to the fast parser, goes through the strict one."""
    raws = [data[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    values = _decoded(raws)
    odd = suspicious(data, begins, ends) | np.fromiter((type(value) is not dict for value in values), bool, len(raws))
    for place in np.flatnonzero(odd).tolist():
        values[place] = _strictly(raws[place], numbers[place], dict(block.overlong), records)
    records.fields, records.lines, records.raws = values, numbers, raws
    if None in values:
        kept = [place for place, value in enumerate(values) if value is not None]
        records.fields = [values[place] for place in kept]
        records.lines = [numbers[place] for place in kept]
        records.raws = [raws[place] for place in kept]


def _decoded(raws: list[bytes]) -> list[Any]:
    """The JSON value of each line, None for those that have none."""
    # Not `decode_lines`: that takes two objects on one line for two lines. An iterator goes on behind a failure.
    values: list[Any] = []
    waiting = map(_fast.decode, raws)
    while True:
        try:
            values.extend(waiting)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            values.append(None)
        else:
            return values


def _strictly(raw: bytes, number: int, overlong: dict[int, bytes], records: Records) -> dict[str, Any] | None:
    """The object of a line by the strict parser. None for a blank line, and for one that is rejected."""
    if number in overlong:
        _reject(records, number, overlong[number].decode("utf-8", "replace"), OVERLONG)
        return None
    if not raw.strip():
        return None
    text, fault = decode(raw)
    fields, fault = (None, fault) if fault else parse_object(text)
    if fields is None:
        _reject(records, number, text, fault)
    return fields


def _parse_text(block: Block, records: Records) -> None:
    """A document a line."""
    overlong = dict(block.overlong)
    for number, raw in enumerate(bytes(block.payload).split(b"\n"), start=block.first_line):
        text, fault = decode(overlong.get(number, raw))
        fault = OVERLONG if number in overlong else fault
        if fault:
            _reject(records, number, text, fault)
        elif text.strip():
            _keep(records, number, raw, {"text": text})


def _parse_cells(block: Block, records: Records) -> None:
    """Records of a CSV file, which were cut apart when it was read."""
    found = block.payload
    good = found.places[:, found.places[3] == 0]
    cells = iter(cells_of(found, block.source.delimiter or ","))
    records.fields = [
        dict(zip(block.header, row, strict=True)) for row in zip(*[cells] * len(block.header), strict=True)
    ]
    records.lines = good[2].tolist()
    records.raws = [found.data[begin:end] for begin, end in good[:2].T.tolist()]
    for line, raw, reason in rejected(found, len(block.header)):
        _reject(records, line, raw, reason)


def _parse_rows(block: Block, records: Records) -> None:
    """Rows of a Parquet file as JSON would give them; they have no text of their own, so JSON stands for it."""
    batch = block.payload
    try:
        rows = _rows_of(batch)
        records.lines = list(range(block.first_line, block.first_line + len(rows)))
        records.raws = list(map(_json.encode, rows))
        records.fields = rows
    except (UnicodeDecodeError, KeyError):
        records.raws = []
        for place in range(batch.num_rows):
            _parse_row(batch.slice(place, 1), block.first_line + place, records)


def _parse_row(row: Any, line: int, records: Records) -> None:
    try:
        (fields,) = _rows_of(row)
    except UnicodeDecodeError as error:
        _reject(records, line, error.object.decode("utf-8", "replace"), "invalid UTF-8: in a text of the row")
    except KeyError as error:
        _reject(records, line, str(row.to_pylist()), f"duplicate key: {error} appears more than once")
    else:
        _keep(records, line, _json.encode(fields), fields)


def _rows_of(batch: Any) -> list[dict[str, Any]]:
    """Rows of plain values. Raises: UnicodeDecodeError, and KeyError where a map has a key twice."""
    rows: list[dict[str, Any]] = pa.Table.from_batches([batch]).to_pylist(maps_as_pydicts="strict")
    return rows if all(map(_is_plain, batch.schema.types)) else msgspec.to_builtins(rows, enc_hook=str)


def _is_plain(kind: Any) -> bool:
    """Whether values of an Arrow type are those that JSON has."""
    if pa.types.is_nested(kind):
        return all(_is_plain(kind.field(place).type) for place in range(kind.num_fields))
    return any(check(kind) for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer)) or (
        pa.types.is_boolean(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)
    )


def _keep(records: Records, line: int, raw: bytes, fields: dict[str, Any]) -> None:
    records.fields.append(fields)
    records.lines.append(line)
    records.raws.append(raw)


def _reject(records: Records, line: int, raw: str, fault: str) -> None:
    records.rejected.append(Rejection(source=records.source, line=line, reason=fault, raw=raw))


_json = msgspec.json.Encoder(enc_hook=str)
_PARSERS: dict[str, Callable[[Block, Records], None]] = {
    "jsonl": _parse_jsonl,
    "json": _parse_json,
    "csv": _parse_cells,
    "tsv": _parse_cells,
    "parquet": _parse_rows,
    "text": _parse_text,
}
