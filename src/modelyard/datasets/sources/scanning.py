"""A kernel over JSON: which lines, or elements of an array, need the strict parser.

It lets no line through that the strict parser would refuse and the fast one would take: doubled keys, deep nesting,
control characters, escaped halves of characters. Whether a line is JSON at all is left to the fast parser.
"""

import numpy as np
import numpy.typing as npt

from modelyard.datasets.index import Flags
from modelyard.datasets.kernels import kernel
from modelyard.datasets.sources.strict_json import MOST_DEPTH
from modelyard.datasets.texts import Bytes, Ints

_MOST_KEYS = 512
_FNV_START = np.uint64(0xCBF29CE484222325)
_FNV_STEP = np.uint64(0x100000001B3)
# Bytes that end the fast way through a string: control characters, the quote and the backslash.
_STOPS = np.array([byte < 32 or byte in (34, 92) for byte in range(256)])


def line_places(data: bytes) -> tuple[Ints, Ints]:
    """Begin and end (without its line feed) of each line. Shapes: (lines,)."""
    feeds = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
    ends = feeds if data.endswith(b"\n") or not data else np.append(feeds, len(data))
    begins = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    return begins, ends


def suspicious(data: bytes, begins: Ints, ends: Ints) -> Flags:
    """Which of some stretches of bytes the fast parser might take though the strict one refuses. Shapes: (lines,)."""
    return _suspect(np.frombuffer(data, np.uint8), begins, ends)


@kernel
def _suspect(data: Bytes, begins: Ints, ends: Ints) -> npt.NDArray[np.bool_]:
    out = np.zeros(len(begins), np.bool_)
    keys = np.zeros(_MOST_KEYS, np.uint64)
    first_key = np.zeros(MOST_DEPTH + 1, np.int64)
    for line in range(len(begins)):
        place, end = begins[line], ends[line]
        depth = 0
        num_keys = 0
        while place < end:
            byte = data[place]
            place += 1
            if byte == 34:
                begin = place
                while place < end and not (_STOPS[data[place]] and (data[place] == 34 or data[place] < 32)):
                    if data[place] == 92:
                        # An escaped surrogate may stand alone.
                        if place + 2 < end and data[place + 1] == 117 and data[place + 2] | 32 == 100:
                            out[line] = True
                        place += 1
                    place += 1
                if place >= end or data[place] < 32:
                    out[line] = True
                    break
                close = place
                place += 1
                if not _is_key(data, place, end):
                    continue
                hashed = _FNV_START
                for inside in range(begin, close):
                    # One key can be written in two ways with escapes: leave those to the strict parser.
                    if data[inside] == 92:
                        out[line] = True
                    hashed = (hashed ^ np.uint64(data[inside])) * _FNV_STEP
                for other in range(first_key[depth], num_keys):
                    if keys[other] == hashed:
                        out[line] = True
                if num_keys == _MOST_KEYS:
                    out[line] = True
                    break
                keys[num_keys] = hashed
                num_keys += 1
            elif byte == 123 or byte == 91:
                depth += 1
                if depth > MOST_DEPTH:
                    out[line] = True
                    break
                first_key[depth] = num_keys
            elif byte == 125 or byte == 93:
                if depth == 0:
                    out[line] = True
                    break
                num_keys = first_key[depth]
                depth -= 1
            elif byte < 32 and byte != 9 and byte != 10 and byte != 13:
                out[line] = True
    return out


@kernel
def _is_key(data: Bytes, place: int, end: int) -> bool:
    """Whether a colon comes next."""
    while place < end and (data[place] == 32 or 9 <= data[place] <= 13):
        place += 1
    return place < end and data[place] == 58
