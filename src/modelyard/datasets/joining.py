"""A kernel: the chosen turns of each row put together."""

import numpy as np
import numpy.typing as npt

from modelyard.datasets.kernels import kernel
from modelyard.datasets.texts import Bytes, Ints, Texts

LINE_FEED, BLANK = 10, 32


def joined(turns: Texts, chosen: npt.NDArray[np.bool_], bounds: Ints, between: int = LINE_FEED) -> Texts:
    """One text a row, with a byte between its turns; a blank only between turns that hold something.

    Shapes: turns and chosen (turns,), bounds (rows + 1,).
    """
    if between == BLANK:
        chosen = chosen & (turns.num_bytes > 0)
    data, offsets = _join(turns.data, turns.offsets, chosen, bounds, between)
    return Texts(data, offsets)


@kernel
def _join(data: Bytes, offsets: Ints, chosen: npt.NDArray[np.bool_], bounds: Ints, between: int) -> tuple[Bytes, Ints]:
    total = len(chosen)
    for turn in range(len(chosen)):
        if chosen[turn]:
            total += offsets[turn + 1] - offsets[turn]
    out = np.empty(total, np.uint8)
    ends = np.zeros(len(bounds), np.int64)
    end = 0
    for row in range(len(bounds) - 1):
        is_first = True
        for turn in range(bounds[row], bounds[row + 1]):
            if not chosen[turn]:
                continue
            if not is_first:
                out[end] = between
                end += 1
            is_first = False
            size = offsets[turn + 1] - offsets[turn]
            out[end : end + size] = data[offsets[turn] : offsets[turn + 1]]
            end += size
        ends[row + 1] = end
    return out[:end], ends
