"""The fourth step: the bounds on length, in characters after normalisation."""

import polars as pl

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.outcome import Outcome, settle


def bound_length(frame: pl.DataFrame, config: DatasetConfig) -> Outcome:
    """Rejects empty prompts and answers, prompts outside [min_chars, max_chars] and answers over max_chars."""
    prompt, answer = pl.col("prompt").str.len_chars(), pl.col("answer").str.len_chars()
    reason = (
        pl.when(prompt == 0)
        .then(pl.lit("empty prompt: nothing is left of it after normalisation"))
        .when(answer == 0)
        .then(pl.lit("empty answer: nothing is left of it after normalisation"))
        .when(prompt < config.min_chars)
        .then(pl.format("short prompt: {} characters, at least {} wanted", prompt, pl.lit(config.min_chars)))
        .when(prompt > config.max_chars)
        .then(pl.format("long prompt: {} characters, at most {} wanted", prompt, pl.lit(config.max_chars)))
        .when(answer > config.max_chars)
        .then(pl.format("long answer: {} characters, at most {} wanted", answer, pl.lit(config.max_chars)))
    )
    return settle(frame.with_columns(reason=reason))
