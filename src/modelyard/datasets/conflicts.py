"""The eighth step: prompts that were given different answers."""

import polars as pl

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.outcome import Outcome, settle


def drop_conflicts(frame: pl.DataFrame, config: DatasetConfig) -> Outcome:
    """Keeps the answer that most rows gave to a prompt; where the first place is shared, none.

    Votes are counted before exact duplicates went, by `copies`.
    """
    most = pl.col("copies").max().over("key")
    voted = frame.with_columns(
        num_answers=pl.len().over("key"),
        most=most,
        num_first=(pl.col("copies") == most).sum().over("key"),
    )
    reason = (
        pl.when(pl.col("num_answers") == 1)
        .then(None)
        .when(pl.col("copies") < pl.col("most"))
        .then(pl.format("minority answer: {} of the rows with this prompt say so, {} say otherwise", "copies", "most"))
        .when(pl.col("num_first") > 1)
        .then(pl.format("tied answers: this prompt has {} different answers, none in the majority", "num_answers"))
    )
    return settle(voted.with_columns(reason=reason).drop("num_answers", "most", "num_first"))
