"""Candidates that repeat: their prompt or a seed, or an earlier row, exactly or nearly.

An answer is compared with its own prompt and with the other answers to it: that many prompts have one answer is no
fault. A new row is compared with every seed and with every row before it. MinHash proposes, exact Jaccard decides.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from modelyard.datasets.duplicates.config import NearDuplicatesConfig
from modelyard.datasets.duplicates.folding import fold
from modelyard.datasets.duplicates.minhash import NO_KEY, band_keys
from modelyard.datasets.duplicates.shingles import jaccards, shingles_of
from modelyard.datasets.splits import split_key
from modelyard.datasets.synthesis.candidates import Candidate
from modelyard.datasets.synthesis.config import CopiesConfig
from modelyard.datasets.synthesis.seeds import Seed
from modelyard.datasets.texts import Texts

# Of rows that share a band key, how many are looked at: the first and the latest.
_MOST_LOOKED_AT = 64


def drop_copies(candidates: Sequence[Candidate], seeds: Sequence[Seed], config: CopiesConfig) -> dict[int, str]:
    """The candidates that repeat something, by place, and what. `seeds` are those of the whole synthesis."""
    if not candidates:
        return {}
    is_new = candidates[0].fields is not None
    originals = list(_originals(candidates, seeds, is_new=is_new)) if config.of_seeds else []
    known = _Known([*(text for _, _, text in originals), *(one.text for one in candidates)], config.threshold)
    for place, (group, name, _) in enumerate(originals):
        known.add(place, group, name)
    faults: dict[int, str] = {}
    for number, one in enumerate(candidates):
        place, group = len(originals) + number, 0 if is_new else one.prompt.number
        if fault := known.fault(place, group):
            faults[number] = fault
        else:
            known.add(place, group, f"row {number - len(faults) + 1}")
    return faults


def _originals(
    candidates: Sequence[Candidate], seeds: Sequence[Seed], *, is_new: bool
) -> Iterator[tuple[int, str, str]]:
    """What candidates may not repeat: the group that it concerns, its name, its text."""
    if is_new:
        names = tuple(candidates[0].fields or ())
        for seed in seeds:
            if text := _text_of(seed, names):
                yield 0, f"the seed {seed.place}", text
        return
    prompts = {one.prompt.number: one.prompt for one in candidates}
    for number, prompt in prompts.items():
        yield number, "its prompt", prompt.messages[-1].content


def _text_of(seed: Seed, names: tuple[str, ...]) -> str:
    """A seed as a new row would say it: the fields they share, else all its texts."""
    if seed.messages:
        return "\n".join(turn.content for turn in seed.messages if turn.role != "system")
    shared = [seed.fields[name] for name in names if name in seed.fields]
    return "\n".join(str(value) for value in shared or seed.fields.values() if isinstance(value, str | int | float))


class _Known:
    """Texts, of which some are known already, each in its group."""

    def __init__(self, texts: list[str], threshold: float | None) -> None:
        self._keys = [split_key(text) for text in texts]
        self._exact: dict[tuple[int, str], int] = {}
        self._buckets: dict[tuple[int, int, int], list[int]] = {}
        self._names: dict[int, str] = {}
        self._threshold = threshold
        if threshold is not None:
            near = NearDuplicatesConfig(threshold=threshold)
            folded = fold(Texts.of(texts))
            self._bands = band_keys(folded, near)
            self._shingles = shingles_of(folded, near.words)

    def add(self, place: int, group: int, name: str) -> None:
        """The text at a place is known from now on."""
        self._names[place] = name
        self._exact.setdefault((group, self._keys[place]), place)
        for bucket in self._buckets_of(place, group):
            self._buckets.setdefault(bucket, []).append(place)

    def fault(self, place: int, group: int) -> str:
        """Which known text of its group the one at a place repeats; empty for none."""
        if (same := self._exact.get((group, self._keys[place]))) is not None:
            return f"copy: the same as {self._names[same]}"
        met = sorted({one for bucket in self._buckets_of(place, group) for one in self._looked_at(bucket)})
        if not met or self._threshold is None:
            return ""
        likeness = jaccards(self._shingles, np.full(len(met), place), np.array(met, np.int64))
        nearest = int(likeness.argmax())
        if likeness[nearest] < self._threshold:
            return ""
        return f"near copy: similarity {likeness[nearest]:.2f} to {self._names[met[nearest]]}"

    def _looked_at(self, bucket: tuple[int, int, int]) -> list[int]:
        found = self._buckets.get(bucket, [])
        return found if len(found) <= _MOST_LOOKED_AT else [found[0], *found[-_MOST_LOOKED_AT:]]

    def _buckets_of(self, place: int, group: int) -> list[tuple[int, int, int]]:
        if self._threshold is None:
            return []
        return [(group, band, int(key)) for band, key in enumerate(self._bands[place]) if key != NO_KEY]
