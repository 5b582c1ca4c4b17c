"""The SHA-256 of each row: of every turn with its role and part, and of all that the row carries besides.

It names the row wherever it goes: the digest of a dataset is made of these, two datasets are compared by them, and a
row without an id of its own is called by its beginning. File and line are left out: the same row from another file
is the same row.
"""

import hashlib
from itertools import pairwise

import msgspec
import numpy as np

from modelyard.datasets.kernels import kernel
from modelyard.datasets.rows import Codes, Rows
from modelyard.datasets.texts import Bytes, Ints

# role, part, and the length of the text in eight bytes, lowest first
_HEAD = 10


def row_digests(rows: Rows) -> bytes:
    """The digests of all rows, 32 bytes each, one behind the other."""
    framed, bounds = _frame(rows.turns.data, rows.turns.offsets, rows.roles, rows.parts, rows.bounds)
    view = memoryview(framed.data)
    ends = bounds.tolist()
    spans = pairwise(ends)
    more = _carried(rows)
    if more is None:
        return b"".join([hashlib.sha256(view[begin:end]).digest() for begin, end in spans])
    return b"".join(
        [hashlib.sha256(bytes(view[begin:end]) + text).digest() for (begin, end), text in zip(spans, more, strict=True)]
    )


def _carried(rows: Rows) -> list[bytes] | None:
    """What each row carries besides its turns, as JSON; None where no row carries anything."""
    columns = [values for values in (rows.ids, rows.groups, rows.labels, rows.desirable, rows.meta) if values]
    if not (rows.extras or rows.tools or any(value is not None for column in columns for value in column)):
        return None
    extras: list[list[tuple[int, str]]] = [[] for _ in range(len(rows))]
    row_of_turn = rows.row_of_turn
    for turn, text in sorted(rows.extras.items()):
        row = int(row_of_turn[turn])
        extras[row].append((turn - int(rows.bounds[row]), text))
    blank = [None] * len(rows)
    named = (rows.ids, rows.groups or blank, rows.labels or blank, rows.desirable or blank, rows.meta or blank)
    encode = msgspec.json.Encoder().encode
    return [encode([*values, rows.tools.get(row), extras[row]]) for row, values in enumerate(zip(*named, strict=True))]


@kernel
def _frame(data: Bytes, offsets: Ints, roles: Codes, parts: Codes, bounds: Ints) -> tuple[Bytes, Ints]:
    """Each turn behind its role, part and length. The frames are the same on any machine."""
    out = np.empty(len(data) + _HEAD * len(roles), np.uint8)
    ends = np.zeros(len(bounds), np.int64)
    end = 0
    for row in range(len(bounds) - 1):
        for turn in range(bounds[row], bounds[row + 1]):
            size = offsets[turn + 1] - offsets[turn]
            out[end] = roles[turn]
            out[end + 1] = parts[turn]
            for place in range(8):
                out[end + 2 + place] = (size >> (8 * place)) & 255
            end += _HEAD
            out[end : end + size] = data[offsets[turn] : offsets[turn + 1]]
            end += size
        ends[row + 1] = end
    return out[:end], ends
