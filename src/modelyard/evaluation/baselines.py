"""Baselines: what one gets without a model, so that a score can be judged."""

from collections import Counter
from collections.abc import Iterable, Sequence

from modelyard.core.errors import DataInvalid
from modelyard.evaluation.metrics import exact_match, proportion
from modelyard.evaluation.suite import Suite
from modelyard.ports.report import Metric


def majority_answer(train_answers: Iterable[str]) -> str:
    """The commonest answer of the train split, among equals the first by the alphabet.

    Raises: DataInvalid without any answer.
    """
    counts = Counter(answer.strip() for answer in train_answers)
    if not counts:
        raise DataInvalid("the train split is empty", expected="at least one answer")
    return min(counts, key=lambda answer: (-counts[answer], answer))


def majority_baseline(train_answers: Iterable[str], expected: Sequence[str], suite: Suite) -> Metric:
    """The score of always giving the commonest answer of the train split."""
    guess = majority_answer(train_answers)
    rows = expected[: suite.max_rows]
    return proportion(sum(exact_match(text, guess, fold_case=suite.fold_case) for text in rows), len(rows))
