"""How far people agree beyond chance, with intervals. Knows nothing about files or tasks' texts.

Answers come as codes: shape (tasks, people), the place of a label in a list, -1 where somebody did not answer. Each
measure is computed for many samples of tasks at once: `weights` (samples, tasks) says how often a task is in a sample.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Measure = Callable[[Codes, Floats], Floats]
MISSING = -1
_CHUNK = 64


def raw_agreement(codes: Codes, weights: Floats) -> Floats:
    """The share of pairs of answers to a task that are the same, averaged over tasks with two answers or more.

    Shape: (samples,). NaN where no task has two answers. Source: Fleiss (1971), equation 2, with each task's own number
    of answers.
    """
    counts = label_counts(codes)
    given = counts.sum(axis=1)
    shared = given >= 2
    pairs = (given * (given - 1))[shared]
    same = (counts * (counts - 1)).sum(axis=1)[shared] / pairs
    return _divided(weights[:, shared] @ same, weights[:, shared].sum(axis=1))


def cohen_kappa(codes: Codes, weights: Floats) -> Floats:
    """Cohen's kappa of two people, over the tasks that both answered.

    Shapes: codes (tasks, 2), result (samples,). NaN where it is undefined: no task, or one label alone.
    Source: Cohen (1960), A coefficient of agreement for nominal scales.
    """
    both = (codes != MISSING).all(axis=1)
    first, second = (_one_hot(codes[both, person], _num_labels(codes)) for person in (0, 1))
    weights = weights[:, both]
    total = weights.sum(axis=1)
    observed = _divided(weights @ (codes[both, 0] == codes[both, 1]), total)
    by_chance = _divided(((weights @ first) * (weights @ second)).sum(axis=1), total**2)
    return _beyond_chance(observed, by_chance)


def fleiss_kappa(codes: Codes, weights: Floats) -> Floats:
    """Fleiss' kappa, for tasks that have the same number of answers each.

    Shape: (samples,). NaN where it is undefined: numbers that differ, fewer than two answers, or one label alone.
    Source: Fleiss (1971), Measuring nominal scale agreement among many raters.
    """
    counts = label_counts(codes)
    given = counts.sum(axis=1)
    counts = counts[given > 0]
    sizes = np.unique(given[given > 0])
    if len(sizes) != 1 or sizes[0] < 2:
        return np.full(len(weights), np.nan)
    weights = weights[:, given > 0]
    shares = _divided(weights @ counts, (weights.sum(axis=1) * sizes[0])[:, None])
    return _beyond_chance(raw_agreement(codes[given > 0], weights), (shares**2).sum(axis=1))


def krippendorff_alpha(codes: Codes, weights: Floats) -> Floats:
    """Krippendorff's alpha for labels without an order; answers may be missing, tasks with a single one do not count.

    Shape: (samples,). NaN where it is undefined: no two answers to a task, or one label alone.
    Source: Krippendorff (2011), Computing Krippendorff's alpha-reliability, section C.
    """
    return _alpha(label_counts(codes), weights)


def label_alpha(codes: Codes, label: int) -> float:
    """Krippendorff's alpha of one label against all others together. NaN where it is undefined."""
    mine, given = _times_given(codes, label)
    return float(_alpha(np.stack([mine, given - mine], axis=1), np.ones((1, len(codes))))[0])


def specific_agreement(codes: Codes, label: int) -> float:
    """Of the answers that gave a label, the share that another answer to the same task repeats, averaged over the
    others. NaN where nobody gave it to a shared task.

    Source: Cicchetti and Feinstein (1990), High agreement but low kappa II, with more than two people.
    """
    mine, given = _times_given(codes, label)
    shared = given >= 2
    mine, others = mine[shared], given[shared] - 1
    return float(_divided((mine * (mine - 1) / others).sum(), mine.sum()))


def confusions(codes: Codes, num_labels: int) -> Codes:
    """How many pairs of answers to one task gave two labels. Shape: (labels, labels), symmetric, its diagonal 0."""
    counts = label_counts(codes, num_labels).astype(np.int64)
    pairs: Codes = counts.T @ counts
    np.fill_diagonal(pairs, 0)
    return pairs


def measured(measure: Measure, codes: Codes) -> float:
    """A measure on all tasks."""
    return float(measure(codes, np.ones((1, len(codes))))[0])


def interval(measure: Measure, codes: Codes, *, seed: int, num_samples: int = 1000) -> tuple[float, float]:
    """The 95% percentile interval of a measure over samples of tasks, drawn with replacement. NaN where most of the
    samples leave it undefined.

    Source: Efron and Tibshirani (1993), An introduction to the bootstrap, section 13.3.
    """
    num_tasks = len(codes)
    if not num_tasks:
        return np.nan, np.nan
    # Tasks with the same answers are alike to every measure, and far fewer than tasks.
    patterns, times = np.unique(codes, axis=0, return_counts=True)
    draw = np.random.default_rng(seed)
    found = []
    for begin in range(0, num_samples, _CHUNK):
        size = min(_CHUNK, num_samples - begin)
        weights = draw.multinomial(num_tasks, times / num_tasks, size=size)
        found.append(measure(patterns, weights.astype(np.float64)))
    values = np.concatenate(found)
    values = values[~np.isnan(values)]
    if len(values) * 2 < num_samples:
        return np.nan, np.nan
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def label_counts(codes: Codes, num_labels: int = 1) -> Floats:
    """How often each label was given to each task. Shape: (tasks, labels), with `num_labels` labels at least."""
    counts = np.zeros((len(codes), max(_num_labels(codes), num_labels)))
    tasks, people = np.nonzero(codes != MISSING)
    np.add.at(counts, (tasks, codes[tasks, people]), 1)
    return counts


def _times_given(codes: Codes, label: int) -> tuple[Floats, Floats]:
    """How often a label was given to each task, and how many answers the task has. Shapes: (tasks,)."""
    return (codes == label).sum(axis=1).astype(np.float64), (codes != MISSING).sum(axis=1).astype(np.float64)


def _alpha(counts: Floats, weights: Floats) -> Floats:
    """1 - (n - 1) (n - diagonal of the coincidences) / (n^2 - sum of the squared margins)."""
    given = counts.sum(axis=1)
    shared = given >= 2
    counts, given, weights = counts[shared], given[shared], weights[:, shared]
    same = weights @ ((counts * (counts - 1)).sum(axis=1) / (given - 1))
    margins = weights @ counts
    total = margins.sum(axis=1)
    by_chance = total**2 - (margins**2).sum(axis=1)
    by_chance[np.isclose(by_chance, 0)] = 0
    return 1 - _divided((total - 1) * (total - same), by_chance)


def _beyond_chance(observed: Floats, by_chance: Floats) -> Floats:
    room = 1 - by_chance
    room[np.isclose(room, 0)] = 0
    return _divided(observed - by_chance, room)


def _divided(above: Floats, below: Floats) -> Floats:
    """NaN where it is divided by 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below == 0, np.nan, above / below)


def _num_labels(codes: Codes) -> int:
    return int(codes.max(initial=MISSING)) + 1


def _one_hot(codes: Codes, labels: int) -> Floats:
    hot = np.zeros((len(codes), labels))
    hot[np.arange(len(codes)), codes] = 1
    return hot
