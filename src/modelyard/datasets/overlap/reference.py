"""Texts that must not be repeated, as hashes that are quickly looked up."""

from dataclasses import dataclass

import numpy as np

from modelyard.datasets.duplicates.config import NearDuplicatesConfig
from modelyard.datasets.duplicates.folding import fold, hash128
from modelyard.datasets.duplicates.minhash import NO_KEY, band_keys
from modelyard.datasets.duplicates.shingles import Shingles, shingles_of
from modelyard.datasets.index import Hashes
from modelyard.datasets.overlap.runs import Runs
from modelyard.datasets.texts import Ints, Texts

_WORDS = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """Hashes of texts, in arrays alone, so that it can be pickled. `whole` are those of the folded texts, rising.

    `keys` are, for each band, rising band keys with, in `key_text`, the text of each; `shingles` are the sets to
    compare with. Without a `threshold` these are empty.
    """

    threshold: float | None
    whole: Hashes
    runs: Runs
    keys: list[Hashes]
    key_text: list[Ints]
    shingles: Shingles

    @classmethod
    def of(cls, texts: Texts, *, ngram: int, threshold: float | None) -> "Reference":
        """From texts as they were written. Empty ones, which every text would repeat, are left out."""
        folded = fold(texts)
        folded = folded.take(folded.num_bytes > 0)
        whole, first = np.unique(hash128(folded)[:, 0], return_index=True)
        folded = folded.take(np.sort(first))
        keys, key_text = [], []
        for band in band_keys(folded, near_config(threshold)).T if threshold else ():
            order = np.argsort(band, kind="stable")
            order = order[band[order] != NO_KEY]
            keys.append(band[order])
            key_text.append(order)
        return cls(
            threshold=threshold,
            whole=whole,
            runs=Runs.of(folded, ngram),
            keys=keys,
            key_text=key_text,
            shingles=shingles_of(folded if threshold else Texts.of([]), _WORDS),
        )

    def shingles_of(self, folded: Texts) -> Shingles:
        """Other texts as sets that can be compared with these."""
        return shingles_of(folded, _WORDS)


def near_config(threshold: float) -> NearDuplicatesConfig:
    """How near texts are looked for: as near-duplicate prompts are."""
    return NearDuplicatesConfig(threshold=threshold, words=_WORDS)
