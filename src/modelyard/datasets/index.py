"""What steps over all rows need to know of each: keys and numbers, never texts. And what such a step lets go.

A row is named by its place: its number in the order of the sources, from 0, among the rows that the row steps kept.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelyard.datasets.texts import Ints

Hashes = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Index:
    """The rows as keys. Shapes: prompt_key, answer_key (rows, 2), the rest (rows,).

    Keys are 128-bit hashes of the folded texts (see `duplicates.folding`); `id_key` is 0 where a row gave no id.
    `split` counts in SPLITS, and so says how far a row is held out: test (2) beats validation (1) beats train (0).
    """

    prompt_key: Hashes
    answer_key: Hashes
    id_key: Hashes
    split: npt.NDArray[np.int8]
    num_chars: Ints

    def __len__(self) -> int:
        return len(self.split)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drops:
    """The rows that a step lets go, and why. Shapes: places, cause, witness (dropped,), numbers (dropped, 2).

    `places` rise. `causes` are texts such as "near-duplicate: similarity {a:.2f} to {witness}", of which `cause` picks
    one; `witness` is the place of the row that a row gives way to, -1 where there is none; `numbers` fill a and b.
    """

    places: Ints
    causes: tuple[str, ...]
    cause: npt.NDArray[np.uint8]
    witness: Ints
    numbers: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.places)

    def reason(self, number: int, where: Callable[[int], str]) -> str:
        """Why the row at `places[number]` goes; `where` tells file and line of a place."""
        a, b = self.numbers[number]
        witness = int(self.witness[number])
        said: str = self.causes[self.cause[number]]
        return said.format(a=a, b=b, witness=where(witness) if witness >= 0 else "")
