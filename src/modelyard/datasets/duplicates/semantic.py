"""Rows that mean the same, by the cosine of their embeddings. Each row is compared with every row that stays."""

import numpy as np
import numpy.typing as npt

from modelyard.core.errors import DataInvalid
from modelyard.datasets.duplicates.embedding import Vectors
from modelyard.datasets.duplicates.exact import drops_of
from modelyard.datasets.index import Drops, Flags, Index
from modelyard.datasets.texts import Ints

MAX_ROWS = 200_000
_CAUSES = ("semantic duplicate: similarity {a:.3f} to {witness}",)
# A block of rows against a block of others takes 32 MB.
_BLOCK_ROWS = 1024
_OTHER_ROWS = 8192


def drop_semantic_duplicates(index: Index, alive: Flags, vectors: Vectors, threshold: float) -> Drops:
    """The rows that give way to one that means the same: the most held-out one stays, then the earliest.

    Shapes: alive (rows,); vectors (rows that are alive, dims), each of length 1.
    Raises: DataInvalid above `MAX_ROWS`, and for vectors that are not finite.
    """
    places = np.flatnonzero(alive)
    check_num_rows(len(places))
    if num_bad := int((~np.isfinite(vectors)).any(axis=1).sum()):
        raise DataInvalid(f"the embeddings of {num_bad:,} rows are no numbers", fix="take another embedding model")
    order = np.lexsort((places, -index.split[places].astype(np.int64)))
    witness, likeness = _give_way(vectors, order, threshold)
    lost = np.flatnonzero(witness >= 0)
    numbers = np.stack([likeness[lost], np.zeros(len(lost))], axis=1)
    return drops_of(places[lost], places[witness[lost]], np.zeros(len(lost), np.uint8), _CAUSES, numbers)


def check_num_rows(num_rows: int) -> None:
    """Raises DataInvalid for more rows than can be compared in minutes; best asked before they are embedded."""
    if num_rows > MAX_ROWS:
        raise DataInvalid(
            f"{num_rows:,} rows are too many to compare by their meaning",
            expected=f"{MAX_ROWS:,} at most",
            fix="take `semantic_duplicates` out of this dataset, or split it",
        )


def _give_way(vectors: Vectors, order: Ints, threshold: float) -> tuple[Ints, npt.NDArray[np.float64]]:
    """For each row the kept one nearest to it, or -1, and how near it is. Shapes: (rows,).

    Rows are taken in their order; a row stays unless a row that stays is at or above the threshold.
    """
    witness = np.full(len(order), -1, np.int64)
    near = np.zeros(len(order))
    kept = np.zeros(0, np.int64)
    for begin in range(0, len(order), _BLOCK_ROWS):
        block = order[begin : begin + _BLOCK_ROWS]
        best, cosine = _nearest(vectors, block, kept)
        among = vectors[block] @ vectors[block].T
        stays = np.zeros(len(block), bool)
        for row in range(len(block)):
            # Rows of this block that stay come behind those of earlier blocks, which win where they are as near.
            mates = np.flatnonzero(stays[:row])
            if len(mates):
                mate = mates[among[row, mates].argmax()]
                if among[row, mate] > cosine[row]:
                    best[row], cosine[row] = block[mate], among[row, mate]
            stays[row] = cosine[row] < threshold
        witness[block[~stays]], near[block[~stays]] = best[~stays], cosine[~stays]
        kept = np.concatenate([kept, block[stays]])
    return witness, near


def _nearest(vectors: Vectors, rows: Ints, others: Ints) -> tuple[Ints, npt.NDArray[np.float32]]:
    """For each row the first of the nearest others, and its cosine: -2 where there is none. Shapes: (rows,)."""
    best = np.full(len(rows), -1, np.int64)
    cosine = np.full(len(rows), -2, np.float32)
    for begin in range(0, len(others), _OTHER_ROWS):
        some = others[begin : begin + _OTHER_ROWS]
        cosines = vectors[rows] @ vectors[some].T
        first = cosines.argmax(axis=1)
        value = cosines[np.arange(len(rows)), first]
        is_nearer = value > cosine
        best[is_nearer], cosine[is_nearer] = some[first[is_nearer]], value[is_nearer]
    return best, cosine
