"""What the steps over all rows need to know of the rows of a block: numbers and keys, no texts."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.duplicates.folding import hash128
from modelyard.datasets.duplicates.minhash import band_keys
from modelyard.datasets.index import Hashes
from modelyard.datasets.rows import REJECTED, Rows
from modelyard.datasets.texts import Ints, Texts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Keys:
    """The keys of a block's rows. Shapes: prompt_key, answer_key (rows, 2), bands (rows, bands), the rest (rows,)."""

    prompt_key: Hashes
    answer_key: Hashes
    id_key: Hashes
    bands: Hashes
    num_chars: Ints


def compared(rows: Rows, config: DatasetConfig) -> Texts:
    """The folded texts in which near-duplicates are looked for."""
    near = config.near_duplicates
    folded = rows.folded()
    return folded.conversations() if near and near.on == "conversation" else folded.subjects()


def keys_of(rows: Rows, config: DatasetConfig) -> Keys:
    """The keys of rows as they will be kept: with personal data masked."""
    folded = rows.folded()
    subjects = folded.subjects()
    near = config.near_duplicates
    texts = subjects if near is None or near.on == "prompt" else folded.conversations()
    return Keys(
        prompt_key=hash128(subjects),
        answer_key=_answer_keys(folded),
        id_key=_id_keys(rows),
        bands=np.zeros((len(rows), 0), np.uint64) if near is None else band_keys(texts, near),
        num_chars=_chars(rows),
    )


def _answer_keys(rows: Rows) -> Hashes:
    """Rows with the same key give the same answer: to a preference pair belongs the worse one, to KTO the verdict."""
    keys = hash128(rows.answers())
    if (rows.parts == REJECTED).any():
        keys = keys * np.uint64(3) + hash128(rows.rejected())
    if rows.desirable is not None:
        keys = keys + np.array(rows.desirable, np.uint64)[:, None]
    for turn, text in rows.extras.items():
        row = int(np.searchsorted(rows.bounds, turn, side="right")) - 1
        keys[row] += hash128(Texts.of([text]))[0]
    return keys


def _id_keys(rows: Rows) -> Hashes:
    if all(id is None for id in rows.ids):
        return np.zeros(len(rows), np.uint64)
    keys = hash128(Texts.of([id or "" for id in rows.ids]))[:, 0]
    has_id: npt.NDArray[np.bool_] = np.array([id is not None for id in rows.ids])
    return np.where(has_id, np.maximum(keys, 1), 0).astype(np.uint64)


def _chars(rows: Rows) -> Ints:
    running = np.concatenate([[0], np.cumsum(rows.turns.num_chars())])
    chars: Ints = running[rows.bounds[1:]] - running[rows.bounds[:-1]]
    return chars
