"""From answers to rows: every candidate that goes is counted, with its reason. Asks nobody."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from modelyard.datasets.ledger import StepCount
from modelyard.datasets.outcome import Rejection
from modelyard.datasets.synthesis.candidates import Candidate, Fault, judge_answer, new_rows
from modelyard.datasets.synthesis.choosing import choose
from modelyard.datasets.synthesis.config import SynthesisConfig
from modelyard.datasets.synthesis.copies import drop_copies
from modelyard.datasets.synthesis.filters import filters_of
from modelyard.datasets.synthesis.log import Answered
from modelyard.datasets.synthesis.prompts import Prompt
from modelyard.datasets.synthesis.seeds import Seed

Answer = tuple[Prompt, Answered]


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of a synthesis, and what each step let go."""

    rows: list[dict[str, Any]]
    counts: list[StepCount]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt that the server took for wrong, with its words."""

    prompt: Prompt
    words: str


def make_rows(
    name: str, config: SynthesisConfig, seeds: Sequence[Seed], answers: Iterable[Answer], refusals: Sequence[Refusal]
) -> Made:
    """The rows that answers make, in the order of prompts and samples. The same answers make the same rows."""
    steps = _Steps()
    candidates = _usable(steps, config, answers, refusals)
    candidates = steps.settle("keep", choose(candidates, config))
    candidates = steps.drop("copies", candidates, lambda found: drop_copies(found, seeds, config.filters.copies))
    return Made(rows=[_row(name, config, one) for one in candidates], counts=steps.counts)


def answered_well(config: SynthesisConfig, answers: Iterable[Answer]) -> set[int]:
    """The prompts, by number, that have an answer which passes every filter on answers alone."""
    return {one.prompt.number for one in _usable(_Steps(), config, answers, ())}


class _Steps:
    """The counts so far."""

    def __init__(self) -> None:
        self.counts: list[StepCount] = []

    def settle(self, step: str, judged: Iterable[Fault], lost: Sequence[Rejection] = ()) -> list[Candidate]:
        """The candidates without fault; the others are counted, behind those that were `lost` before."""
        kept: list[Candidate] = []
        rejected = list(lost)
        for candidate, fault in judged:
            if fault:
                rejected.append(_rejection(candidate.prompt, fault, candidate.text))
            else:
                kept.append(candidate)
        count = StepCount(step=step)
        count.add(rows_out=len(kept), rejected=rejected)
        self.counts.append(count)
        return kept

    def drop(
        self, step: str, candidates: list[Candidate], judge: Callable[[Sequence[Candidate]], Mapping[int, str]]
    ) -> list[Candidate]:
        """The candidates in which a judge of all of them finds no fault."""
        faults = judge(candidates)
        return self.settle(step, ((one, faults.get(place, "")) for place, one in enumerate(candidates)))


def _usable(
    steps: _Steps, config: SynthesisConfig, answers: Iterable[Answer], refusals: Sequence[Refusal]
) -> list[Candidate]:
    """The candidates that pass every filter which looks at one alone."""
    told = (Candidate(prompt=prompt, answer=answer, text=answer.text.strip()) for prompt, answer in answers)
    lost = [_rejection(one.prompt, f"refused by the server: {one.words}", "") for one in refusals]
    candidates = steps.settle("answers", ((one, judge_answer(one)) for one in told), lost)
    if config.fields:
        candidates = steps.settle("reading", new_rows(candidates, config.fields))
    for name, judge in filters_of(config).items():
        candidates = steps.drop(name, candidates, judge)
    return candidates


def _rejection(prompt: Prompt, reason: str, text: str) -> Rejection:
    return Rejection(
        source=prompt.seed.source or "prompt", line=prompt.seed.line or prompt.number, reason=reason, raw=text
    )


def _row(name: str, config: SynthesisConfig, candidate: Candidate) -> dict[str, Any]:
    meta = _meta(name, config, candidate)
    if candidate.fields is not None:
        return {**candidate.fields, "meta": meta}
    turns = [{"role": turn.role, "content": turn.content} for turn in candidate.prompt.asked]
    return {"messages": [*turns, {"role": "assistant", "content": candidate.text}], "meta": meta}


def _meta(name: str, config: SynthesisConfig, candidate: Candidate) -> dict[str, Any]:
    """The provenance of a row. Tokens and cost are those of the whole answer."""
    prompt, answer = candidate.prompt, candidate.answer
    meta: dict[str, Any] = {
        "synthesis": name,
        "config": config.digest,
        "model": config.model,
        "answered_by": answer.model,
        "template": prompt.template,
        "seed": prompt.seed.place,
        "seed_digest": prompt.seed.digest,
        "prompt": prompt.number,
        "sample": answer.sample,
        "request": answer.key,
        "request_seed": answer.request_seed,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "cost_nanousd": answer.cost_nanousd,
        "at": answer.at,
    }
    if candidate.fields is not None:
        meta |= {"row": candidate.place, "rows_of_answer": candidate.of}
    if candidate.votes:
        meta["votes"] = list(candidate.votes)
    return meta
