"""Answers that refuse: a model that learns them refuses what it could answer."""

from collections.abc import Sequence

from modelyard.datasets.index import Flags
from modelyard.datasets.quality.phrases import any_of, matching
from modelyard.datasets.texts import Texts

_OPENINGS = (
    "as an ai", "as a large language model", "as a language model", "i am an ai", "i'm an ai", "i am just an ai",
    "i'm just an ai", "i cannot assist", "i can't assist", "i cannot help with", "i can't help with", "i am unable to",
    "i'm unable to", "i cannot fulfill", "i can't fulfill", "i cannot provide", "i can't provide",
    "i cannot comply", "i can't comply", "i'm not able to", "i am not able to", "i cannot answer", "i can't answer",
    "i cannot generate", "i can't generate", "i cannot create", "i can't create", "i won't be able to",
    "i will not be able to", "i must decline", "i have to decline", "i cannot do that", "i can't do that",
)  # fmt: skip
_APOLOGY = (
    r"(?:(?:i['\x{2019}]m|i am|my) (?:really |very |so |deeply )?(?:sorry|apologies)|sorry|apologies|unfortunately)"
    r"[,.!;:]?\s+(?:but |however,? )?"
)


def refusals(answers: Texts, phrases: Sequence[str]) -> Flags:
    """Answers that open by refusing; what stands further in may be quoted. Shape: (texts,)."""
    return matching(answers, rf"(?i)^\W*(?:{_APOLOGY})?{any_of((*_OPENINGS, *phrases))}")
