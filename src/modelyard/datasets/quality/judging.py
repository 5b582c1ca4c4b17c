"""The step: rows that are not worth learning from, by the filters that were asked for."""

from collections.abc import Iterator

import numpy as np

from modelyard.datasets.index import Flags
from modelyard.datasets.outcome import Outcome, cause
from modelyard.datasets.quality.boilerplate import boilerplate
from modelyard.datasets.quality.config import QualityConfig
from modelyard.datasets.quality.gibberish import gibberish
from modelyard.datasets.quality.language import foreign
from modelyard.datasets.quality.placeholders import placeholders
from modelyard.datasets.quality.refusals import refusals
from modelyard.datasets.quality.repetition import repeated_share
from modelyard.datasets.rows import Rows
from modelyard.datasets.texts import Texts


def judge_quality(rows: Rows, config: QualityConfig) -> Outcome:
    """Rejects rows by the first filter that finds fault; the findings count what each one found."""
    texts, answers = rows.conversations(), rows.answers()
    rejected: dict[int, str] = {}
    findings: dict[str, int] = {}
    for row, reason in _faults(texts, answers, config):
        findings[cause(reason)] = findings.get(cause(reason), 0) + 1
        rejected.setdefault(row, reason)
    return Outcome(rows=rows, rejected=rejected, findings=findings)


def _faults(texts: Texts, answers: Texts, config: QualityConfig) -> Iterator[tuple[int, str]]:
    if config.placeholders:
        yield from _marked(placeholders(answers), "placeholder: the answer only holds a place")
    if config.gibberish:
        yield from ((row, f"gibberish: {what}") for row, what in gibberish(texts).items())
    if config.repetition is not None:
        shares = repeated_share(texts)
        for row in np.flatnonzero(shares > config.repetition).tolist():
            yield row, f"repetition: {shares[row]:.0%} of its words stand in runs that were there before"
    if config.boilerplate:
        yield from _marked(
            boilerplate(texts, config.boilerplate_phrases), "boilerplate: words that stand on every page"
        )
    if config.refusals:
        yield from _marked(refusals(answers, config.refusal_phrases), "refusal: the answer opens by refusing")
    if config.languages:
        for row, code in foreign(texts, config.languages).items():
            yield row, f"language: '{code}', wanted {', '.join(config.languages)}"


def _marked(marks: Flags, reason: str) -> Iterator[tuple[int, str]]:
    return ((row, reason) for row in np.flatnonzero(marks).tolist())
