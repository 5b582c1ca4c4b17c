"""The last step: prompts that say the same in almost the same words.

Method. A prompt is the set of its words and of its pairs of neighbouring words, after the split key and without
punctuation: customers' messages have ten words, and one changed word would break three of eight 3-grams. MinHash with
banding (rensa) proposes pairs, the exact Jaccard similarity of the two sets decides.

What goes. Rows are taken from the most held out to the least, and by line within a split. A row goes when a kept row
is near it and
- gives the same answer, or
- gives another answer and lies in another split.
So a pair with different answers in one split stays whole, as the difference may be the signal; and no pair is ever
parted by a split. The row that goes is always the less held out one: a held-out row never becomes training data, and
a row that an earlier dataset trained on never becomes test data.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.outcome import Outcome, settle
from modelyard.datasets.shingles import Hashes, Shingles, band_hashes, make_shingles


class _Row(msgspec.Struct, frozen=True):
    """What a decision needs of a row."""

    index: int
    line: int
    split: str
    answer_key: str


def drop_near_duplicates(frame: pl.DataFrame, config: DatasetConfig) -> Outcome:
    """Rejects one row of each near-duplicate pair; adds `similar`, the number of rows that gave way to a kept one."""
    if config.near_duplicates is None or frame.is_empty():
        return Outcome(kept=frame.with_columns(similar=pl.lit(0)), rejected=frame.clear())
    shingles = make_shingles(frame["key"])
    bands = band_hashes(shingles, config.near_duplicates)
    is_shared = np.stack([pl.Series(band).is_duplicated().to_numpy() for band in bands.T], axis=1)
    meetings = _Meetings(bands=bands, is_shared=is_shared)
    reasons: dict[int, str] = {}
    sizes: Counter[int] = Counter()
    for row, near, reason in _decide(_suspects(frame, is_shared), meetings, shingles, config.near_duplicates):
        reasons[row.index] = reason
        sizes[near.index] += 1
    marked = frame.with_columns(pl.Series("reason", [reasons.get(i) for i in range(frame.height)], dtype=pl.String))
    similar = pl.Series("similar", [sizes[i] for i in range(frame.height)], dtype=pl.Int64)
    return settle(marked.with_columns(similar))


class _Meetings(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes: both (rows, bands). `is_shared` marks the hashes that another row has too."""

    bands: Hashes
    is_shared: npt.NDArray[np.bool_]

    def of(self, index: int) -> list[int]:
        """The hashes under which a row meets others."""
        hashes: list[int] = self.bands[index][self.is_shared[index]].tolist()
        return hashes


def _suspects(frame: pl.DataFrame, is_shared: npt.NDArray[np.bool_]) -> list[_Row]:
    """The rows that meet another one, in the order in which they are taken."""
    columns = frame.select("line", "split", "answer_key", "rank", "row").with_row_index("index")
    suspects = columns.filter(pl.Series(is_shared.any(axis=1))).sort("rank", "row", descending=[True, False])
    return [_Row(*values) for values in suspects.select("index", "line", "split", "answer_key").iter_rows()]


def _decide(
    suspects: list[_Row], meetings: _Meetings, shingles: Shingles, threshold: float
) -> Iterator[tuple[_Row, _Row, str]]:
    """Each row that goes, the kept row it is near to, and the reason."""
    kept: defaultdict[int, list[_Row]] = defaultdict(list)
    for row in suspects:
        hashes = meetings.of(row.index)
        nearby = {other.index: other for value in hashes for other in kept.get(value, ())}
        found = _nearest(row, list(nearby.values()), shingles, threshold)
        if found:
            yield row, *found
        else:
            for value in hashes:
                kept[value].append(row)


def _nearest(row: _Row, nearby: list[_Row], shingles: Shingles, threshold: float) -> tuple[_Row, str] | None:
    """The kept row that a row has to give way to, with the reason: the most similar one, then the earliest."""
    words = shingles.of(row.index)
    best = (threshold, 0)
    giving_way: tuple[_Row, str] | None = None
    for other in nearby:
        if row.answer_key == other.answer_key:
            cause = "near-duplicate"
        elif row.split != other.split:
            cause = "near-duplicate with another answer in another split"
        else:
            continue
        likeness = jaccard(words, shingles.of(other.index))
        if likeness >= threshold and (giving_way is None or (likeness, -other.index) > best):
            best = (likeness, -other.index)
            giving_way = other, f"{cause}: similarity {likeness:.2f} to line {other.line}"
    return giving_way


def jaccard(left: frozenset[int], right: frozenset[int]) -> float:
    """The share of the union that both sets hold; 0 for two empty sets."""
    common = len(left & right)
    union = len(left) + len(right) - common
    return common / union if union else 0.0
