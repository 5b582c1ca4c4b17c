"""Texts as sets of hashed words and word pairs, and the MinHash bands under which similar sets meet.

Hashes are BLAKE2b of the words, the same on every machine and with every version of the packages below.
"""

import hashlib

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
from rensa import RMinHash

Hashes = npt.NDArray[np.uint64]

NUM_PERMUTATIONS = 128
_SEED = 20_240_501
_RECALL = 0.99
_BLOCK_ROWS = 4_096
# Scripts that write no spaces: each character is a word.
_WORD = r"[\p{Han}\p{Hiragana}\p{Katakana}]|[[\p{L}\p{N}\p{M}]--[\p{Han}\p{Hiragana}\p{Katakana}]]+"
_APOSTROPHES = r"['\u2019`]"
_FIRST, _SECOND, _BAND = (np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xFF51AFD7ED558CCD))


class Shingles(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes: hashes (all shingles), offsets (rows + 1); row i owns hashes[offsets[i]:offsets[i + 1]]."""

    hashes: Hashes
    offsets: Hashes

    def of(self, row: int) -> frozenset[int]:
        """The set of one row."""
        return frozenset(self.hashes[self.offsets[row] : self.offsets[row + 1]].tolist())

    def __len__(self) -> int:
        return len(self.offsets) - 1


def make_shingles(keys: pl.Series) -> Shingles:
    """The shingles of split keys, in their order."""
    words = keys.str.replace_all(_APOSTROPHES, "").str.extract_all(_WORD)
    counts = words.list.len().to_numpy().astype(np.int64)
    hashes = _word_hashes(words.explode().drop_nulls())
    row_of_word = np.repeat(np.arange(len(keys)), counts)
    is_pair = row_of_word[1:] == row_of_word[:-1]
    pairs = (_mix(hashes[:-1] * _FIRST + hashes[1:]))[is_pair]
    rows = np.concatenate([row_of_word, row_of_word[1:][is_pair]])
    order = np.argsort(rows, kind="stable")
    sizes = np.bincount(rows, minlength=len(keys))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint64)
    return Shingles(hashes=np.concatenate([hashes, pairs])[order], offsets=offsets)


def rows_per_band(threshold: float) -> int:
    """The most MinHash values a band may join so that a pair at the threshold still meets with `_RECALL`.

    Of b bands of r values, two sets of similarity s share one with probability 1 - (1 - s^r)^b.
    """
    fitting = [
        r for r in range(1, NUM_PERMUTATIONS + 1) if 1 - (1 - threshold**r) ** (NUM_PERMUTATIONS // r) >= _RECALL
    ]
    return min(max(fitting), 16)


def band_hashes(shingles: Shingles, threshold: float) -> Hashes:
    """Shape: (rows, bands). Rows that agree in any column are candidates; a row without words agrees with none."""
    width = rows_per_band(threshold)
    num_bands = NUM_PERMUTATIONS // width
    blocks = [_bands(shingles, start, width, num_bands) for start in range(0, len(shingles), _BLOCK_ROWS)]
    return np.concatenate(blocks)


def _bands(shingles: Shingles, start: int, width: int, num_bands: int) -> Hashes:
    """Shape: (rows of the block, bands). In blocks, as rensa hands its matrix over as Python integers."""
    end = min(start + _BLOCK_ROWS, len(shingles))
    offsets = shingles.offsets[start : end + 1]
    tokens = shingles.hashes[offsets[0] : offsets[-1]]
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(tokens, offsets - offsets[0], NUM_PERMUTATIONS, _SEED)
    values = np.array(matrix.to_rows(), dtype=np.uint64)[:, : num_bands * width].reshape(-1, num_bands, width)
    bands = np.zeros(values.shape[:2], dtype=np.uint64) + np.arange(num_bands, dtype=np.uint64)
    for place in range(width):
        bands = _mix(bands * _FIRST + values[:, :, place])
    is_empty = offsets[1:] == offsets[:-1]
    bands[is_empty] = np.arange(start, end, dtype=np.uint64)[is_empty][:, None]
    return bands


def _word_hashes(words: pl.Series) -> Hashes:
    distinct = words.unique()
    hashes = [int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big") for word in distinct]
    table = pl.DataFrame({"word": distinct, "hash": pl.Series(hashes, dtype=pl.UInt64)})
    joined = pl.DataFrame({"word": words}).join(table, on="word", how="left", maintain_order="left")
    return joined["hash"].to_numpy()


def _mix(hashes: Hashes) -> Hashes:
    """Spread every bit over the word (Murmur3's finaliser), so that sums of hashes do not cancel out."""
    hashes = hashes ^ (hashes >> np.uint64(33))
    hashes = hashes * _BAND
    hashes = hashes ^ (hashes >> np.uint64(33))
    hashes = hashes * _SECOND
    return hashes ^ (hashes >> np.uint64(33))
