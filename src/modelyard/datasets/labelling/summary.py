"""How far a job is, person by person, and how far people agree."""

import itertools
import math

import msgspec
import numpy as np

from modelyard.datasets.labelling.agreement import (
    MISSING,
    Codes,
    Measure,
    cohen_kappa,
    confusions,
    fleiss_kappa,
    interval,
    krippendorff_alpha,
    label_alpha,
    measured,
    num_given,
    raw_agreement,
    specific_agreement,
)
from modelyard.datasets.labelling.outcomes import counts, outcomes
from modelyard.datasets.labelling.storage import LabellingFolder, last_lines
from modelyard.datasets.labelling.tasks import folded


class PersonProgress(msgspec.Struct, frozen=True, kw_only=True):
    """What a person did so far. `last_ms` is the time of the last line, 0 where there is none."""

    person: str
    num_given: int
    num_skipped: int
    last_ms: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A job in numbers. `outcomes` counts tasks by what became of them."""

    name: str
    question: str
    labels: tuple[str, ...]
    per_task: int
    origin: str
    num_tasks: int
    num_masked: int
    outcomes: dict[str, int]
    people: list[PersonProgress]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A measure with its 95% interval; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


class LabelAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """One label: how often it was given, how often another answer repeats it, its alpha against all others."""

    label: str
    num_given: int
    specific: float | None
    alpha: float | None


class PairAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """Two people, over the tasks that both answered."""

    people: tuple[str, str]
    num_tasks: int
    raw: Figure
    cohen_kappa: Figure


class Confusion(msgspec.Struct, frozen=True, kw_only=True):
    """How many pairs of answers to one task gave these two labels."""

    labels: tuple[str, str]
    num_pairs: int


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How far people agree, over the `num_shared` tasks that two or more of them answered."""

    people: list[str]
    num_shared: int
    raw: Figure
    fleiss_kappa: Figure
    krippendorff_alpha: Figure
    pairs: list[PairAgreement]
    labels: list[LabelAgreement]
    confused: list[Confusion]


def summarise(folder: LabellingFolder) -> Summary:
    """A job in numbers."""
    job = folder.job
    return Summary(
        name=job.name,
        question=job.question,
        labels=job.labels,
        per_task=job.per_task,
        origin=job.origin,
        num_tasks=len(folder.tasks),
        num_masked=sum(task.is_masked for task in folder.tasks.values()),
        outcomes=counts(outcomes(folder)),
        people=[_progress(folder, person) for person in folder.people],
    )


def alpha(folder: LabellingFolder, *, seed: int = 0) -> Figure:
    """Krippendorff's alpha of a job: agreement in one number."""
    _, _, codes = _coded(folder)
    return _figure(krippendorff_alpha, codes, seed)


def agreement(folder: LabellingFolder, *, seed: int = 0) -> Agreement:
    """How far people agree. Free texts agree where they differ in case and white space alone."""
    people, labels, codes = _coded(folder)
    return Agreement(
        people=people,
        num_shared=int((num_given(codes) >= 2).sum()),
        raw=_figure(raw_agreement, codes, seed),
        fleiss_kappa=_figure(fleiss_kappa, codes, seed),
        krippendorff_alpha=_figure(krippendorff_alpha, codes, seed),
        pairs=[_pair(people, codes, a, b, seed) for a, b in itertools.combinations(range(len(people)), 2)],
        labels=[_label(label, place, codes) for place, label in enumerate(labels)] if folder.job.labels else [],
        confused=[
            Confusion(labels=(labels[a], labels[b]), num_pairs=number)
            for (a, b), number in sorted(confusions(codes).items(), key=lambda pair: -pair[1])
        ],
    )


def _progress(folder: LabellingFolder, person: str) -> PersonProgress:
    lines = folder.log_of(person).read()
    states = [line.state for line in last_lines(lines).values()]
    last_ms = lines[-1].at_ms if lines else 0
    return PersonProgress(
        person=person, num_given=states.count("given"), num_skipped=states.count("skipped"), last_ms=last_ms
    )


def _coded(folder: LabellingFolder) -> tuple[list[str], list[str], Codes]:
    """People, labels, and who gave which: shape (tasks, people)."""
    given = folder.answers()
    labels = list(folder.job.labels)
    places = {folded(label): place for place, label in enumerate(labels)}
    codes = np.full((len(folder.tasks), len(given)), MISSING, np.int64)
    rows = {id: row for row, id in enumerate(folder.tasks)}
    for column, answers in enumerate(given.values()):
        for id, answer in answers.items():
            if (place := places.setdefault(folded(answer.label), len(places))) == len(labels):
                labels.append(answer.label)
            if id in rows:
                codes[rows[id], column] = place
    return list(given), labels, codes


def _pair(people: list[str], codes: Codes, a: int, b: int, seed: int) -> PairAgreement:
    both = codes[:, [a, b]]
    return PairAgreement(
        people=(people[a], people[b]),
        num_tasks=int((num_given(both) == 2).sum()),
        raw=_figure(raw_agreement, both, seed),
        cohen_kappa=_figure(cohen_kappa, both, seed),
    )


def _label(label: str, place: int, codes: Codes) -> LabelAgreement:
    return LabelAgreement(
        label=label,
        num_given=int((codes == place).sum()),
        specific=_defined(specific_agreement(codes, place)),
        alpha=_defined(label_alpha(codes, place)),
    )


def _figure(measure: Measure, codes: Codes, seed: int) -> Figure:
    # Tasks with a single answer say nothing of agreement, and a sample of tasks should not spend its draws on them.
    shared = codes[num_given(codes) >= 2]
    low, high = interval(measure, shared, seed=seed)
    return Figure(value=_defined(measured(measure, shared)), low=_defined(low), high=_defined(high))


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
