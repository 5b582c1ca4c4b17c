"""Rows that ask and answer the same, but for case and white space."""

import numpy as np
import numpy.typing as npt

from modelyard.datasets.index import Drops, Flags, Hashes, Index
from modelyard.datasets.texts import Ints

_JOIN = np.uint64(0x9E3779B97F4A7C15)
CAUSES = (
    "exact duplicate: same prompt and answer as {witness}",
    "repeated id: another row has its id too, {witness}",
)


def drop_exact_duplicates(index: Index, alive: Flags) -> tuple[Drops, npt.NDArray[np.int32]]:
    """Keeps one of the rows with equal prompt and answer; also tells how many rows each kept one stands for.

    It is the most held-out one, then the earliest: masking can make texts of different splits equal, and then the
    training rows lose them. A given id that comes again on another row is rejected as well, as reports tell rows apart
    by it. Shape of the counts: (rows,), 1 for a row that stands for itself.
    """
    columns = (index.prompt_key[:, 0], index.prompt_key[:, 1], index.answer_key[:, 0], index.answer_key[:, 1])
    alike = repeated(columns[0] + columns[2] * _JOIN, np.flatnonzero(alive))
    witness = first_of_each(columns, index, alike)
    is_copy = witness != alike
    copies = np.ones(len(index), np.int32)
    np.add.at(copies, witness[is_copy], 1)
    stays = alive & (index.id_key != 0)
    stays[alike[is_copy]] = False
    named = repeated(index.id_key, np.flatnonzero(stays))
    by_id = first_of_each((index.id_key,), index, named, by_split=False)
    lost = np.concatenate([alike[is_copy], named[by_id != named]])
    because = np.concatenate([witness[is_copy], by_id[by_id != named]])
    cause = np.repeat(np.array([0, 1], np.uint8), [int(is_copy.sum()), int((by_id != named).sum())])
    return drops_of(lost, because, cause, CAUSES), copies


def repeated(keys: Hashes, places: Ints) -> Ints:
    """Of some places those, in their order, whose key another one of them has. Shapes: keys (rows,), places (any,).

    Few rows are left to look at, which is what keeps memory low over millions of them.
    """
    values = keys[places]
    ordered = np.sort(values)
    shared = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(shared):
        return places[:0]
    found = np.minimum(np.searchsorted(shared, values), len(shared) - 1)
    among: Ints = places[shared[found] == values]
    return among


def first_of_each(columns: tuple[Hashes, ...], index: Index, places: Ints, *, by_split: bool = True) -> Ints:
    """For rows at some places, the row among them with equal columns that stays. Shape: (places,).

    The earliest, of the most held-out ones if `by_split`.
    """
    if not len(places):
        return places
    rank = -index.split[places].astype(np.int64) if by_split else np.zeros(len(places), np.int64)
    order = np.lexsort((places, rank, *(column[places] for column in reversed(columns))))
    is_new = np.ones(len(order), bool)
    is_new[1:] = False
    for column in columns:
        values = column[places][order]
        is_new[1:] |= values[1:] != values[:-1]
    group = np.cumsum(is_new) - 1
    witness = np.empty(len(places), np.int64)
    witness[order] = places[order][is_new][group]
    return witness


def drops_of(
    lost: Ints,
    witness: Ints,
    cause: npt.NDArray[np.uint8],
    causes: tuple[str, ...],
    numbers: npt.NDArray[np.float64] | None = None,
) -> Drops:
    """Lost rows in their order, each column with them."""
    order = np.argsort(lost)
    numbers = np.zeros((len(lost), 2)) if numbers is None else numbers
    return Drops(places=lost[order], causes=causes, cause=cause[order], witness=witness[order], numbers=numbers[order])
