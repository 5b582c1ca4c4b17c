"""What a candidate must be to become a row: one filter a step, each with its reasons."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from modelyard.datasets.quality.config import QualityConfig
from modelyard.datasets.quality.judging import judge_quality
from modelyard.datasets.rows import ANSWER, ASSISTANT, Rows
from modelyard.datasets.synthesis.candidates import Candidate
from modelyard.datasets.synthesis.config import FiltersConfig, PatternConfig, SynthesisConfig
from modelyard.datasets.synthesis.privacy import named
from modelyard.datasets.texts import Texts

Judge = Callable[[Sequence[Candidate]], dict[int, str]]


def filters_of(config: SynthesisConfig) -> dict[str, Judge]:
    """The filters that a configuration asks for, by name. Each tells by place which candidates go, and why."""
    filters = config.filters
    judges: dict[str, Judge] = {"length": lambda found: bound_length(found, filters)}
    if filters.must_match or filters.must_not_match:
        judges["patterns"] = lambda found: match_patterns(found, filters)
    if filters.quality.is_on:
        judges["quality"] = lambda found: judge_texts([one.text for one in found], filters.quality)
    if config.personal_data.mode == "drop":
        judges["personal_data"] = drop_personal
    return judges


def bound_length(candidates: Sequence[Candidate], config: FiltersConfig) -> dict[int, str]:
    """Candidates with too few or too many characters."""
    faults = {}
    for place, one in enumerate(candidates):
        if len(one.text) < config.min_chars:
            faults[place] = f"short: {len(one.text)} characters, at least {config.min_chars} wanted"
        elif len(one.text) > config.max_chars:
            faults[place] = f"long: {len(one.text)} characters, at most {config.max_chars} wanted"
    return faults


def match_patterns(candidates: Sequence[Candidate], config: FiltersConfig) -> dict[int, str]:
    """Candidates that lack what they must match, or match what they must not."""
    wanted = [(re.compile(one.pattern), one) for one in config.must_match]
    unwanted = [(re.compile(one.pattern), one) for one in config.must_not_match]
    faults = {}
    for place, candidate in enumerate(candidates):
        lacks = next((one for expression, one in wanted if not expression.search(_read(candidate, one))), None)
        has = next((one for expression, one in unwanted if expression.search(_read(candidate, one))), None)
        if lacks or has:
            faults[place] = (
                f"no match: of '{lacks.pattern}'" if lacks else f"unwanted match: of '{has and has.pattern}'"
            )
    return faults


def judge_texts(texts: list[str], config: QualityConfig) -> dict[int, str]:
    """Texts that the filters of datasets find fault with."""
    count = len(texts)
    rows = Rows(
        line=np.arange(count),
        turns=Texts.of(texts),
        roles=np.full(count, ASSISTANT, np.uint8),
        parts=np.full(count, ANSWER, np.uint8),
        bounds=np.arange(count + 1),
        ids=[None] * count,
    )
    return dict(judge_quality(rows, config).rejected)


def drop_personal(candidates: Sequence[Candidate]) -> dict[int, str]:
    """Candidates whose answer had personal data in it."""
    return {place: named(one.answer.personal) for place, one in enumerate(candidates) if one.answer.personal}


def _read(candidate: Candidate, pattern: PatternConfig) -> str:
    """What an expression is searched in."""
    return str(candidate.fields[pattern.field]) if pattern.field and candidate.fields else candidate.text
