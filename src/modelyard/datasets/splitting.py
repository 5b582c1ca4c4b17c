"""The fifth step: the split of each row, from its own text alone.

It comes before personal data is masked and before duplicates go, and nothing after it moves a row: so a row's split
depends on no other row, and adding rows later moves none. Later steps that meet two alike rows in different splits
drop one of them, always the less held out one; see near_duplicates.
"""

import polars as pl

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.outcome import Outcome
from modelyard.datasets.splits import SPLITS, split_key, split_of

# How far a row is held out: a test row outranks a validation row, which outranks a training row.
RANK = {name: rank for rank, name in enumerate(SPLITS)}


def assign_split(frame: pl.DataFrame, config: DatasetConfig) -> Outcome:
    """Adds `split` (a name) and `rank` (how far it is held out) by the prompt. Rejects nothing."""
    names = [split_of(split_key(text), config.splits, config.salt) for text in frame["prompt"]]
    split = pl.Series("split", names, dtype=pl.String)
    rank = pl.Series("rank", [RANK[name] for name in names], dtype=pl.Int8)
    kept = frame.with_columns(split, rank)
    return Outcome(kept=kept, rejected=kept.clear())
