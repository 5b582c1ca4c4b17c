"""Lengths in tokens of a chosen tokenizer."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.core.digests import digest_bytes
from modelyard.core.errors import DataInvalid, MissingExtra
from modelyard.datasets.index import Flags
from modelyard.datasets.outcome import Outcome
from modelyard.datasets.quality.config import TokensConfig
from modelyard.datasets.rows import Rows
from modelyard.datasets.texts import Ints, Texts

_FILE = "tokenizer.json"
# What the package makes of a text takes a hundred times the memory of its number of tokens.
_BATCH_TEXTS = 512


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """A tokenizer by the content of its file, which goes to the workers with it. `digest` is that of the file."""

    digest: str
    content: bytes = field(repr=False)

    @classmethod
    def load(cls, path: str, root: Path) -> "TokenCounter":
        """The tokenizer of a file, or of the folder that holds one. Raises: DataInvalid, MissingExtra."""
        full = (root / path).resolve()
        file = full / _FILE if full.is_dir() else full
        try:
            content = file.read_bytes()
        except OSError as error:
            raise DataInvalid(
                f"no tokenizer can be read at {path}: {error.strerror}",
                expected=f"a {_FILE} as the package `tokenizers` saves it, or a folder that holds one",
                fix="correct `tokens.tokenizer` of the dataset",
            ) from error
        try:
            _loaded(content)
        except ValueError as error:
            raise DataInvalid(
                f"{path} is no tokenizer: {error}",
                expected=f"a {_FILE} as the package `tokenizers` saves it, or a folder that holds one",
                fix="correct `tokens.tokenizer` of the dataset",
            ) from error
        return cls(digest_bytes(content), content)

    def count(self, texts: Texts) -> Ints:
        """The tokens of each text, without those that a chat template adds. Shape: (texts,)."""
        tokenizer = _loaded(self.content)
        array = texts.to_arrow()
        counts = [
            len(encoding)
            for begin in range(0, len(texts), _BATCH_TEXTS)
            for encoding in tokenizer.encode_batch_fast(
                array.slice(begin, _BATCH_TEXTS).to_pylist(), add_special_tokens=False
            )
        ]
        return np.array(counts, np.int64)


def bound_tokens(rows: Rows, counter: TokenCounter, config: TokensConfig) -> tuple[Outcome, Ints]:
    """Rejects rows outside [min, max] tokens over all their turns; also tells the tokens of each. Shape: (rows,)."""
    running = np.concatenate([[0], np.cumsum(counter.count(rows.turns))])
    counts: Ints = running[rows.bounds[1:]] - running[rows.bounds[:-1]]
    rejected = {
        **{row: f"few tokens: {counts[row]}, at least {config.min} wanted" for row in _places(counts < config.min)},
        **{row: f"many tokens: {counts[row]}, at most {config.max} wanted" for row in _places(counts > config.max)},
    }
    return Outcome(rows=rows, rejected=rejected), counts


def _places(marks: Flags) -> list[int]:
    places: list[int] = np.flatnonzero(marks).tolist()
    return places


@lru_cache(maxsize=1)
def _loaded(content: bytes) -> Any:
    """Raises: ValueError for what is no tokenizer."""
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise MissingExtra("tokenizers", "data") from error
    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as error:  # the package raises nothing narrower
        raise ValueError(str(error)) from error
    # A file may ask for both, and then every text would seem to have as many tokens.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
