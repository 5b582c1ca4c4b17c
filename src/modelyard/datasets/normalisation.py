"""The third step: one spelling for one text. NFC, no control or invisible characters, plain white space."""

import polars as pl

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.outcome import Outcome

# In this order. Rust's regular expressions know no look-around, hence the captured neighbour of a joiner.
_REPLACEMENTS = (
    (r"\x1b\[[0-9;?]*[A-Za-z]", ""),  # terminal colours, before their escape character goes
    (r"[\u200b\u2060\ufeff\u00ad\u180e\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb]", ""),
    # Joiners are letters' and emoji's own in many scripts; beside ASCII or at an end they are litter.
    (r"(^|[\x00-\x7f])[\u200c\u200d]+", "$1"),
    (r"[\u200c\u200d]+($|[\x00-\x7f])", "$1"),
    (r"\r\n?|[\u2028\u2029\u0085]", "\n"),
    (r"[\x1c-\x1f]", " "),  # separators: they part words
    (r"[\x00-\x08\x0e-\x1b\x7f-\x9f]", ""),
    (r"[\s--\n]+", " "),
    (r" ?\n ?", "\n"),
    (r"\n{3,}", "\n\n"),
)


def normalise(frame: pl.DataFrame, config: DatasetConfig) -> Outcome:
    """Prompts and answers in one spelling. Rejects nothing; counts the rows it changed."""
    texts = frame.select(_normalised("prompt"), _normalised("answer"))
    changed = int(((texts["prompt"] != frame["prompt"]) | (texts["answer"] != frame["answer"])).sum())
    return Outcome(kept=frame.with_columns(texts), rejected=frame.clear(), changed=changed)


def _normalised(column: str) -> pl.Expr:
    text = pl.col(column).str.normalize("NFC")
    for pattern, replacement in _REPLACEMENTS:
        text = text.str.replace_all(pattern, replacement)
    return text.str.strip_chars()
