"""Rows that say the same in almost the same words.

Method. A text is a set of words and runs of words (see `shingles`). MinHash in bands proposes pairs, the exact Jaccard
similarity of the two sets decides.

What goes. Rows are taken from the most held out to the least, and by place within a split. A row goes when a kept row
is near it and
- gives the same answer, or
- gives another answer and lies in another split.
So a pair with different answers in one split stays whole, as the difference may be the signal; and no pair that was
found is ever parted by a split. The row that goes is always the less held-out one: a held-out row never becomes
training data, and a row that an earlier dataset trained on never becomes test data. Where whole conversations are
compared, answers are part of the text, and any near row goes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelyard.datasets.duplicates.bands import BandStore, meetings
from modelyard.datasets.duplicates.config import NearDuplicatesConfig
from modelyard.datasets.duplicates.exact import drops_of
from modelyard.datasets.duplicates.shingles import jaccards, shingles_of
from modelyard.datasets.index import Drops, Flags, Index
from modelyard.datasets.kernels import kernel
from modelyard.datasets.texts import Ints, Texts
from modelyard.ports.workers import Workers

CAUSES = (
    "near-duplicate: similarity {a:.2f} to {witness}",
    "near-duplicate with another answer in another split: similarity {a:.2f} to {witness}",
)
# Pairs whose texts a worker holds at once: some 50 MB of them where rows have a kilobyte.
_BATCH_PAIRS = 25_000
Fetch = Callable[[Ints], Texts]
Similarities = npt.NDArray[np.float64]


def drop_near_duplicates(
    index: Index, alive: Flags, bands: BandStore, fetch: Fetch, config: NearDuplicatesConfig, *, workers: Workers
) -> tuple[Drops, npt.NDArray[np.int32]]:
    """The rows that give way to a near one, and how many rows gave way to each kept one. Shape: (rows,).

    `fetch` gives the folded texts at rising places, also in workers.
    """
    rank = np.empty(len(index), np.int64)
    rank[np.argsort(-index.split, kind="stable")] = np.arange(len(index))
    pairs = _candidates(index, alive, bands, rank, config)
    tasks = (
        _Verification(fetch=fetch, pairs=pairs[begin : begin + _BATCH_PAIRS], words=config.words)
        for begin in range(0, len(pairs), _BATCH_PAIRS)
    )
    found = list(workers.map(_verify, tasks))
    likeness = np.concatenate(found) if found else np.zeros(0)
    is_near = likeness >= config.threshold
    witness, near = decide(pairs[is_near], likeness[is_near], rank)
    lost = np.flatnonzero(witness >= 0)
    similar = np.bincount(witness[lost], minlength=len(index)).astype(np.int32)
    cause = (~_same_answer(index, lost, witness[lost]) & (config.on == "prompt")).astype(np.uint8)
    numbers = np.stack([near[lost], np.zeros(len(lost))], axis=1)
    return drops_of(lost, witness[lost], cause, CAUSES, numbers), similar


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Verification:
    """Pairs for a worker. Shape: pairs (pairs, 2)."""

    fetch: Fetch
    pairs: Ints
    words: int


def _candidates(index: Index, alive: Flags, bands: BandStore, rank: Ints, config: NearDuplicatesConfig) -> Ints:
    """Pairs of rows that meet in some band, of which one would have to go. Shape: (pairs, 2), the lower rank first."""
    size = np.uint64(len(index))
    known = np.zeros(0, np.uint64)
    for keys in bands.bands():
        left, right = meetings(keys, rank, alive)
        if config.on == "prompt":
            matters = _same_answer(index, left, right) | (index.split[left] != index.split[right])
            left, right = left[matters], right[matters]
        known = np.union1d(known, left.astype(np.uint64) * size + right.astype(np.uint64))
    return np.stack([known // size, known % size], axis=1).astype(np.int64)


def _same_answer(index: Index, left: Ints, right: Ints) -> Flags:
    same: Flags = (index.answer_key[left] == index.answer_key[right]).all(axis=1)
    return same


def _verify(task: _Verification) -> Similarities:
    """The Jaccard similarity of each pair. Shape: (pairs,)."""
    places, numbers = np.unique(task.pairs, return_inverse=True)
    shingles = shingles_of(task.fetch(places), task.words)
    numbers = numbers.reshape(-1, 2)
    return jaccards(shingles, numbers[:, 0].copy(), numbers[:, 1].copy())


def decide(pairs: Ints, likeness: Similarities, rank: Ints) -> tuple[Ints, Similarities]:
    """For each row the kept one that it gives way to, or -1, and how near it is. Shapes: (rows,)."""
    # By the rank of the row that would go; the nearest first, then the one that is taken first.
    order = np.lexsort((rank[pairs[:, 0]], -likeness, rank[pairs[:, 1]]))
    return _give_way(pairs[order, 0].copy(), pairs[order, 1].copy(), likeness[order], len(rank))


@kernel
def _give_way(winners: Ints, losers: Ints, likeness: Similarities, num_rows: int) -> tuple[Ints, Similarities]:
    """A row goes where a row that stays is near. Whoever could make a row go was decided on before it."""
    witness = np.full(num_rows, -1, np.int64)
    near = np.zeros(num_rows, np.float64)
    for pair in range(len(winners)):
        winner, loser = winners[pair], losers[pair]
        if witness[winner] < 0 and witness[loser] < 0:
            witness[loser] = winner
            near[loser] = likeness[pair]
    return witness, near
