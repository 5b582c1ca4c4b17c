"""The seventh step: rows that ask and answer the same, but for case and white space."""

import polars as pl

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.outcome import Outcome, settle
from modelyard.datasets.splits import split_key


def drop_exact_duplicates(frame: pl.DataFrame, config: DatasetConfig) -> Outcome:
    """Keeps one of the rows with equal prompt and answer, and adds `key`, `answer_key` and `copies` (how many).

    It is the earliest, unless masking made texts of different splits equal: then the earliest of the most held out
    ones, so that the training rows lose it. A given id that comes again on another row is rejected as well, as
    reports tell rows apart by it.
    """
    alike = ["key", "answer_key"]
    keyed = frame.with_columns(_keys(frame["prompt"], "key"), _keys(frame["answer"], "answer_key"))
    marked = keyed.with_columns(
        copies=pl.len().over(alike),
        kept_row=_best("row").over(alike),
        kept_line=_best("line").over(alike),
    )
    reason = pl.when(pl.col("row") != pl.col("kept_row")).then(
        pl.format("exact duplicate: same prompt and answer as line {}", "kept_line")
    )
    marked = marked.with_columns(reason=reason).drop("kept_row", "kept_line")
    return settle(_reject_repeated_ids(marked))


def _best(column: str) -> pl.Expr:
    return pl.col(column).sort_by(["rank", "row"], descending=[True, False]).first()


def _keys(texts: pl.Series, name: str) -> pl.Series:
    return pl.Series(name, [split_key(text) for text in texts], dtype=pl.String)


def _reject_repeated_ids(marked: pl.DataFrame) -> pl.DataFrame:
    survivors = pl.col("reason").is_null() & pl.col("id").is_not_null()
    first = pl.col("row").filter(survivors).min().over("id")
    is_repeat = survivors & (pl.col("row") != first)
    reason = pl.when(is_repeat).then(pl.format("repeated id: an earlier row has the id '{}' too", "id"))
    return marked.with_columns(reason=pl.coalesce("reason", reason))
